//! The process before: it starts the next one, and hands over once that is ready.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::{For, Inheritance, Message};

/// Says to a process that its standard input is a channel to the one before.
pub(super) const VARIABLE: &str = "SERIN_HANDOVER";
/// Reading a configuration may ask for names; starting reads state.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A container ends with its first process.
    #[error("this is the first process of a container, which would end with it: replace the container instead")]
    FirstProcess,
    /// It cannot be started.
    #[error("the next process cannot be started")]
    Start(#[source] io::Error),
    /// It is not ready, and its log says why.
    #[error("the next process is not ready; its log says why")]
    NotReady(#[source] io::Error),
    /// State has to be on disk before it changes hands.
    #[error("the state cannot be written")]
    State,
    /// It has everything and does not serve.
    #[error("the next process does not serve; its log says why")]
    NotServing(#[source] io::Error),
}

/// The next process before it is ready: it can be called off.
#[derive(Debug, Default)]
pub struct Early(Mutex<Option<u32>>);

impl Early {
    /// Ends it, where it is not ready yet.
    pub fn call_off(&self) {
        // Locked, so that it is not another process by now: it is waited for only afterwards.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let process = known.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(process) = process {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }

    fn begins(&self, process: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }

    fn ends(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The next process. Dropped before it serves, it is ended.
#[derive(Debug)]
pub struct Successor {
    channel: Channel,
    child: Option<Child>,
}

impl Successor {
    /// Starts the program of this process anew, whatever stands at its place by now, and
    /// waits until it is ready. Blocks.
    ///
    /// # Errors
    /// Where it does not start, or does not like its configuration.
    pub fn start(early: &Early) -> Result<Self, HandoverError> {
        if std::process::id() == 1 {
            return Err(HandoverError::FirstProcess);
        }
        let mut words = std::env::args_os();
        let program = words.next().unwrap_or_else(|| OsString::from("serin"));
        let (channel, other) = Channel::pair().map_err(HandoverError::Start)?;
        let child = Command::new(program)
            .args(words)
            .stdin(other)
            .env(VARIABLE, "1")
            // Sockets that systemd gave to this process are among those that are handed over.
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .spawn()
            .map_err(HandoverError::Start)?;
        early.begins(child.id());
        let successor = Self { channel, child: Some(child) };
        let answer = successor.channel.receive(PATIENCE);
        early.ends();
        match answer {
            Ok((Message::Ready, _)) => Ok(successor),
            Ok((other, _)) => Err(HandoverError::NotReady(io::Error::other(format!("it says {other:?}")))),
            Err(error) => Err(HandoverError::NotReady(error)),
        }
    }

    /// Hands everything over and waits until the next process serves; the value is its id.
    /// Blocks.
    ///
    /// # Errors
    /// Where it does not: then nothing has changed hands.
    pub fn hand_over(mut self, inheritance: &Inheritance) -> Result<u32, HandoverError> {
        self.send(inheritance).map_err(HandoverError::NotServing)?;
        match self.channel.receive(PATIENCE) {
            Ok((Message::Serving, _)) => {}
            Ok((other, _)) => return Err(HandoverError::NotServing(io::Error::other(format!("it says {other:?}")))),
            Err(error) => return Err(HandoverError::NotServing(error)),
        }
        // It lives on.
        Ok(self.child.take().map_or(0, |child| child.id()))
    }

    fn send(&self, inheritance: &Inheritance) -> io::Result<()> {
        for held in inheritance.listeners.all() {
            for sockets in held.sockets.chunks(DESCRIPTORS_MAX) {
                let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
                self.channel.send(&Message::Sockets(For::Clients, held.address), &descriptors)?;
            }
        }
        let Inheritance { admin, health, ofrep, .. } = inheritance;
        for (purpose, socket) in [(For::Admin, admin), (For::Health, health), (For::Ofrep, ofrep)] {
            if let Some((address, socket)) = socket {
                self.channel.send(&Message::Sockets(purpose, *address), &[socket.as_fd()])?;
            }
        }
        if let Some(lock) = &inheritance.lock {
            self.channel.send(&Message::Lock, &[lock.as_fd()])?;
        }
        self.channel.send(&Message::Take, &[])
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

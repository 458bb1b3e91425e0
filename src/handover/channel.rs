//! Messages with descriptors over a socket pair; each is one packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::Message;

/// The kernel takes 253 in one packet.
pub(super) const DESCRIPTORS_MAX: usize = 64;
const BYTES_MAX: usize = 1024;

/// One end of the pair.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(one), other))
    }

    /// The end that this process was given as its standard input.
    pub(super) fn of_stdin() -> io::Result<Self> {
        let stdin = io::stdin();
        let kind = socket_type(&stdin)?;
        if kind != SocketType::SEQPACKET {
            return Err(io::Error::other("standard input is no channel"));
        }
        Ok(Self(stdin.as_fd().try_clone_to_owned()?))
    }

    pub(super) fn send(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message, with its descriptors.
    ///
    /// # Errors
    /// The other process has ended, or says nothing for so long.
    pub(super) fn receive(&self, within: Duration) -> io::Result<(Message, Vec<OwnedFd>)> {
        set_socket_timeout(&self.0, Timeout::Recv, Some(within))?;
        let mut text = [0; BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    return Err(io::Error::other(format!("it says nothing for {within:?}")));
                }
                received => break received?,
            }
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("this process may have no more descriptors"));
        }
        if received.bytes == 0 {
            return Err(io::Error::other("it has ended"));
        }
        let descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors = descriptors.flatten().collect();
        Ok((serde_json::from_slice(&text[..received.bytes])?, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn messages_bring_their_descriptors_and_an_end_is_told() {
        let (one, other) = Channel::pair().unwrap();
        let other = Channel(other);
        let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        one.send(&Message::Lock, &descriptors).unwrap();
        one.send(&Message::Take, &[]).unwrap();
        let (message, received) = other.receive(Duration::from_secs(5)).unwrap();
        assert_eq!((message, received.len()), (Message::Lock, 3));
        let same = TcpListener::from(received.into_iter().next().unwrap());
        assert_eq!(same.local_addr().unwrap(), sockets[0].local_addr().unwrap());
        assert_eq!(other.receive(Duration::from_secs(5)).unwrap().0, Message::Take);
        assert!(other.receive(Duration::from_millis(1)).unwrap_err().to_string().contains("says nothing"));
        drop(one);
        assert!(other.receive(Duration::from_secs(5)).unwrap_err().to_string().contains("has ended"));
    }
}

//! Which version an app server answers, where configuration says how to ask.

use std::time::Duration;

use tokio::sync::mpsc;

use super::controller::Controller;
use super::deployments::{Action, Answers, Order};
use super::error::ControlError;
use super::run::Command;
use super::{Control, service::ServiceControl};
use crate::config::{Endpoint, Pool, PoolVersion};
use crate::upstream;

const PATIENCE: Duration = Duration::from_secs(2);

impl Control {
    /// Asks the pool that a start would go to; nothing is asked where configuration names no path.
    ///
    /// # Errors
    /// Where there is no such pool.
    pub async fn ask_pool(
        &self,
        find: impl FnOnce(&mut Controller) -> Result<usize, ControlError> + Send + 'static,
        service: &str,
    ) -> Result<Answers, ControlError> {
        let pool = self.ask(find).await?;
        let snapshot = self.snapshot();
        let state = snapshot.services.iter().find(|state| state.config.name == service);
        match state {
            Some(state) => Ok(Answers { version: first_answer(&state.config.pools[pool]).await }),
            None => Ok(Answers::default()),
        }
    }
}

/// The first version that an app server of the pool answers, and which one. One that
/// does not answer says nothing about its version.
async fn first_answer(pool: &Pool) -> Option<(String, String)> {
    for endpoint in &pool.endpoints {
        if let Some(version) = ask(endpoint, &pool.version).await {
            return Some((version, endpoint.to_string()));
        }
    }
    None
}

/// Where a deployment waits for its old pool: asks that, and returns once all of it runs the version.
pub(super) fn ask_returning(controller: &Controller, commands: &mpsc::WeakSender<Command>) {
    for service in &controller.services {
        let Some((pool, version)) = waits_for(service) else { continue };
        let (pool, version, commands) = (pool.clone(), version.to_owned(), commands.clone());
        let order = Order { service: service.config.name.clone(), by: "serin".to_owned(), if_match: None };
        tokio::spawn(async move {
            for endpoint in &pool.endpoints {
                if ask(endpoint, &pool.version).await.as_ref() != Some(&version) {
                    return;
                }
            }
            let change = move |controller: Result<&mut Controller, ControlError>| -> super::run::DurableReply {
                if let Ok(controller) = controller {
                    // Somebody may have been faster.
                    let _ = controller.act(&order, Action::Return);
                }
                Box::new(|_| ())
            };
            if let Some(commands) = commands.upgrade() {
                let _ = commands.send(Command::Deployment { only_if_writable: true, change: Box::new(change) }).await;
            }
        });
    }
}

fn waits_for(service: &ServiceControl) -> Option<(&Pool, &str)> {
    let version = service.current.as_ref()?.returning()?;
    let pool = &service.config.pools[service.stable];
    matches!(pool.version, PoolVersion::Asked { .. }).then_some((pool, version))
}

async fn ask(endpoint: &Endpoint, how: &PoolVersion) -> Option<String> {
    let PoolVersion::Asked { path, json } = how else { return None };
    let (_, text) = upstream::get(endpoint, path, PATIENCE).await.filter(|(status, _)| status.is_success())?;
    let version = match json {
        None => String::from_utf8(text.to_vec()).ok()?,
        Some(key) => match serde_json::from_slice::<serde_json::Value>(&text).ok()?.get(key)? {
            serde_json::Value::String(version) => version.clone(),
            other => other.to_string(),
        },
    };
    Some(version.trim().to_owned())
}

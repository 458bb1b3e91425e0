//! Another configuration, while everything runs.

use std::collections::HashMap;
use std::sync::Arc;

use super::controller::Controller;
use super::error::ControlError;
use super::service::ServiceControl;
use crate::config::{Config, Service};

impl Controller {
    /// Takes up a configuration as a whole, or not at all. What runs goes on: services keep
    /// their roles, deployments, counts and connections; one that is gone keeps its records.
    ///
    /// # Errors
    /// A pool or service in use that the configuration lacks.
    pub fn reconfigure(&mut self, config: Arc<Config>, variables: HashMap<String, String>) -> Result<(), ControlError> {
        let missing: Vec<String> = self.services.iter().flat_map(|service| missing(service, &config)).collect();
        if !missing.is_empty() {
            return Err(ControlError::Conflict { code: "poolInUse", detail: missing.join("; ") });
        }
        let mut before: HashMap<String, ServiceControl> =
            self.services.drain(..).map(|service| (service.config.name.clone(), service)).collect();
        for service in &config.services {
            let service = Arc::new(service.clone());
            let control = match before.remove(&service.name) {
                Some(mut control) => {
                    control.reconfigure(service);
                    control
                }
                None => self.new_service(service),
            };
            self.services.push(control);
        }
        self.absent.extend(before.into_iter().map(|(name, service)| (name, service.record())));
        (self.config, self.variables) = (config, variables);
        self.deployments_changed();
        self.publish();
        Ok(())
    }

    /// A service that was not there, with what is known of an earlier one of its name.
    fn new_service(&mut self, config: Arc<Service>) -> ServiceControl {
        let stored = self.absent.remove(&config.name);
        let (recorders, woken) = (self.recorders(), self.woken());
        let service = ServiceControl::new(config, stored.as_ref(), &super::Checkpoint::default(), recorders, &woken);
        service.watch();
        service
    }
}

/// What of a service in use a configuration lacks.
fn missing(service: &ServiceControl, config: &Config) -> Vec<String> {
    let name = &service.config.name;
    let Some(new) = config.services.iter().find(|new| new.name == *name) else {
        let running = service.current.as_ref().map(|_| format!("service `{name}` has a running deployment"));
        return running.into_iter().collect();
    };
    let has = |pool: &str| new.pools.iter().any(|known| known.name == pool);
    let in_use = service.pools_in_use();
    in_use.into_iter().filter(|pool| !has(pool)).map(|pool| format!("pool `{pool}` of `{name}` is in use")).collect()
}

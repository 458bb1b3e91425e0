//! How often clients may ask.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Clients that are remembered at most; whoever comes then waits until some are forgotten.
const CLIENTS_MAX: usize = 100_000;

/// A rate for each client by its address, IPv6 by its /64: whoever has one has all of it.
pub(super) struct Rate {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    clock: DefaultClock,
}

impl Rate {
    /// So many a second, after so many at once.
    pub(super) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self { limiter: RateLimiter::hashmap(quota), clock: DefaultClock::default() }
    }

    /// Whether a client may ask now.
    ///
    /// # Errors
    /// With the whole seconds after which it may.
    pub(super) fn take(&self, client: IpAddr) -> Result<(), u64> {
        if self.limiter.len() >= CLIENTS_MAX {
            self.limiter.retain_recent();
            if self.limiter.len() >= CLIENTS_MAX {
                return Err(1);
            }
        }
        let until = |not: governor::NotUntil<_>| not.wait_time_from(self.clock.now());
        self.limiter.check_key(&network(client)).map_err(|not| whole_seconds(until(not)))
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(bits))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_burst_and_is_told_how_long_to_wait() {
        let three = NonZeroU32::new(3).unwrap();
        let rate = Rate::new(NonZeroU32::MIN, three);
        let ask = |client: &str| rate.take(client.parse().unwrap());
        assert_eq!([(); 3].map(|()| ask("10.0.0.1")), [Ok(()); 3]);
        assert_eq!(ask("10.0.0.1"), Err(1));
        assert_eq!(ask("10.0.0.2"), Ok(()), "another client");
        assert_eq!(["::1", "::2", "::3"].map(|last| ask(&format!("2001:db8{last}"))), [Ok(()); 3]);
        assert_eq!(ask("2001:db8::4"), Err(1), "one network");
        assert_eq!(ask("::ffff:10.0.0.1"), Err(1), "the same client by another name");
    }
}

//! Made-up users: how active they are, and who has the most errors.

use super::random::Random;

/// The shape of a heavy tail (Pareto): few users make most of the requests.
const TAIL: f64 = 1.2;

/// How requests are spread over users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// All alike.
    Equal,
    /// Few users make most of the requests (Pareto 1.2).
    HeavyTailed,
}

/// Users to draw from.
#[derive(Clone, Debug)]
pub struct Users {
    count: usize,
    /// Walker's alias method (1977): a probability and another user for each; empty: all alike.
    alias: Vec<(f64, u32)>,
    /// These have half of all errors that nobody else causes.
    culprits: usize,
    /// How many requests of a hundred thousand are theirs.
    weight_of_culprits: f64,
}

impl Users {
    /// So many users; a part of them, `culprits` (0 to 1), has half of the errors.
    pub fn new(count: usize, activity: Activity, culprits: f64, random: &mut Random) -> Self {
        let count = count.max(1);
        let weights: Vec<f64> = match activity {
            Activity::Equal => Vec::new(),
            Activity::HeavyTailed => (0..count).map(|_| (1.0 - random.unit()).powf(-1.0 / TAIL)).collect(),
        };
        let culprits = ((count as f64 * culprits).ceil() as usize).min(count);
        let total: f64 = weights.iter().sum();
        let weight_of_culprits = if weights.is_empty() {
            culprits as f64 / count as f64
        } else {
            weights[..culprits].iter().sum::<f64>() / total
        };
        Self { count, alias: alias(&weights), culprits, weight_of_culprits }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whose request is next.
    pub fn draw(&self, random: &mut Random) -> usize {
        let user = random.below(self.count);
        match self.alias.get(user) {
            Some((own, other)) if random.unit() >= *own => *other as usize,
            _ => user,
        }
    }

    /// The error rate of a user where that of all requests is `rate`.
    pub fn error_rate(&self, user: usize, rate: f64) -> f64 {
        if self.culprits == 0 || rate >= 1.0 {
            return rate;
        }
        let weight = self.weight_of_culprits.clamp(1e-9, 1.0);
        let theirs = (rate / 2.0 / weight).min(1.0);
        if user < self.culprits {
            theirs
        } else {
            // What the culprits cannot cause falls on everybody else.
            ((rate - theirs * weight) / (1.0 - weight).max(1e-9)).clamp(0.0, 1.0)
        }
    }
}

fn alias(weights: &[f64]) -> Vec<(f64, u32)> {
    let count = weights.len();
    let total: f64 = weights.iter().sum();
    let mut scaled: Vec<f64> = weights.iter().map(|weight| weight * count as f64 / total).collect();
    let mut table: Vec<(f64, u32)> = (0..count as u32).map(|user| (1.0, user)).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..count).partition(|user| scaled[*user] < 1.0);
    while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
        table[less] = (scaled[less], more as u32);
        scaled[more] -= 1.0 - scaled[less];
        if scaled[more] < 1.0 {
            large.pop();
            small.push(more);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heavy_tail_gives_few_users_most_requests_and_every_rate_is_kept() {
        let mut random = Random::new(1);
        for (activity, culprits) in
            [(Activity::Equal, 0.0), (Activity::HeavyTailed, 0.0), (Activity::HeavyTailed, 0.02)]
        {
            let users = Users::new(2_000, activity, culprits, &mut random);
            let mut counts = vec![0_u32; 2_000];
            let mut errors = 0;
            for _ in 0..400_000 {
                let user = users.draw(&mut random);
                counts[user] += 1;
                errors += u32::from(random.chance(users.error_rate(user, 0.01)));
            }
            assert!((3_600..4_400).contains(&errors), "{activity:?}, {culprits}: {errors}");
            counts.sort_unstable_by(|a, b| b.cmp(a));
            let top: u32 = counts[..200].iter().sum();
            let expected = if activity == Activity::Equal { 40_000..60_000 } else { 160_000..400_000 };
            assert!(expected.contains(&top), "{activity:?}: a tenth of the users made {top} requests");
        }
    }
}

//! Evidence for the good news: that a rate is below a limit.

/// Statements of safety are made at this evidence: wrong in at most 1 of 20.
pub const SAFE: f64 = 20.0;
/// The bets: rates as parts of the limit.
const SAFER: [f64; 3] = [0.1, 0.25, 0.5];
const EXPONENT_MAX: f64 = 700.0;
const BISECTIONS: u32 = 60;

/// Evidence that an error rate is below `limit` (a fraction between 0 and 1):
/// the mean likelihood ratio over a few smaller rates.
pub fn safety(limit: f64, errors: u64, successes: u64) -> f64 {
    let (errors, successes) = (errors as f64, successes as f64);
    let ratio = |part: &f64| {
        let log = errors * part.ln() + successes * ((-part * limit).ln_1p() - (-limit).ln_1p());
        log.min(EXPONENT_MAX).exp()
    };
    SAFER.iter().map(ratio).sum::<f64>() / SAFER.len() as f64
}

/// An upper bound of a rate that holds at every moment (wrong in at most 1 of
/// 20): the `u` above `errors/n` with `n * kl(errors/n, u) = ln 20 + ln(4n)/2`.
pub fn upper_rate(errors: u64, n: u64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let n = n as f64;
    let rate = errors as f64 / n;
    let need = (SAFE.ln() + 0.5 * (4.0 * n).ln()) / n;
    let (mut low, mut high) = (rate, 1.0);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(low, high);
        if middle > 0.0 && middle < 1.0 && divergence(rate, middle) < need {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Kullback-Leibler divergence of two coins.
fn divergence(p: f64, u: f64) -> f64 {
    let heads = if p > 0.0 { p * (p / u).ln() } else { 0.0 };
    let tails = if p < 1.0 { (1.0 - p) * ((1.0 - p) / (1.0 - u)).ln() } else { 0.0 };
    heads + tails
}

//! Claims of order between two systems, stated only if the interval of their difference excludes zero.

use super::metric_key::MetricKey;
use super::results::{Report, System};
use crate::eval::Interval;

/// The verdict on two systems by the interval of their paired difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The reference has the higher value.
    Above,
    /// The reference has the lower value.
    Below,
    /// The interval contains zero.
    NotToldApart,
    /// One of them has not converged: a difference would depend on the length of training.
    NotClaimed,
}

/// The reference and another system on the same prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderClaim {
    /// The other system.
    pub other: String,
    /// The order that may be claimed.
    pub order: Order,
    /// Reference minus other, with its interval.
    pub difference: Interval,
}

/// All claims about one reference.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderClaims {
    /// The reference.
    pub reference: String,
    /// By metric: the reference against the other systems.
    pub metrics: Vec<(MetricKey, Vec<OrderClaim>)>,
}

impl Order {
    /// In the order of a report.
    pub const ALL: [Self; 4] = [Self::Above, Self::Below, Self::NotToldApart, Self::NotClaimed];

    fn of(difference: &Interval) -> Self {
        match difference {
            d if d.low > 0.0 => Self::Above,
            d if d.high < 0.0 => Self::Below,
            _ => Self::NotToldApart,
        }
    }

    /// The verdict as text, such as "eclipse above ridge".
    pub fn words(self) -> &'static str {
        match self {
            Self::Above => "above",
            Self::Below => "below",
            Self::NotToldApart => "not told apart from",
            Self::NotClaimed => "not claimed (one is not at convergence) against",
        }
    }
}

/// Description of the method, above the claims.
pub(super) const HOW: &str = "Paired bootstrap over prompts and seeds: the same draw of prompts for both systems, and of seeds where both \
have the same ones. An order is stated only where the 95 % interval of the difference excludes zero. Above is the higher number; the direction that is \
better stands beside the metric. Each interval stands for itself; there is no correction for their number.";

impl Report {
    /// For each reference and each of `keys` with values per prompt: the reference against every system that is compared with it.
    pub fn claims(&self, keys: &[MetricKey]) -> Vec<OrderClaims> {
        let mut references: Vec<&String> = Vec::new();
        for reference in self.systems.iter().filter_map(|s| s.compared_with.as_ref()) {
            if !references.contains(&reference) {
                references.push(reference);
            }
        }
        let all = references.into_iter().map(|reference| {
            let metrics = keys
                .iter()
                .map(|key| (key.clone(), self.claims_by(key, reference)));
            OrderClaims {
                reference: reference.clone(),
                metrics: metrics.filter(|(_, claims)| !claims.is_empty()).collect(),
            }
        });
        all.filter(|claims| !claims.metrics.is_empty()).collect()
    }

    fn claims_by(&self, key: &MetricKey, reference: &String) -> Vec<OrderClaim> {
        let compared = self
            .systems
            .iter()
            .filter(|s| s.compared_with.as_ref() == Some(reference));
        let of_reference = self.systems.iter().find(|s| s.label == *reference);
        let claims = compared.filter_map(|system| {
            let cell = system.cells.get(key).filter(|c| c.n_prompts > 1)?;
            let Interval { value, low, high } = cell.difference?;
            let difference = Interval {
                value: 0.0 - value,
                low: 0.0 - high,
                high: 0.0 - low,
            };
            Some(OrderClaim {
                other: system.label.clone(),
                order: match of_reference.is_some_and(System::may_be_compared) && system.may_be_compared() {
                    true => Order::of(&difference),
                    false => Order::NotClaimed,
                },
                difference,
            })
        });
        claims.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_needs_an_interval_without_zero() {
        let order = |low, high| {
            Order::of(&Interval {
                value: (low + high) / 2.0,
                low,
                high,
            })
        };
        assert_eq!(order(0.01, 0.2), Order::Above);
        assert_eq!(order(-0.2, -0.01), Order::Below);
        assert_eq!(order(-0.01, 0.2), Order::NotToldApart);
        assert_eq!(order(0.0, 0.2), Order::NotToldApart);
        assert_eq!(order(0.0, 0.0), Order::NotToldApart);
    }
}

//! When mail that goes by a route is tried again, where the route says so.

use securanet_gateway::model::{
    outbound::Schedule,
    policy::{self, Scope},
};
use serde::{Deserialize, Serialize};

/// Times of the queue for mail that goes by a route, each written as the policy of its name (`15m,2h,1d`). What is not said
/// is as the sender's policies say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimesSettings {
    /// Policy `queue.retry_after`.
    pub retry_after: Option<String>,
    /// Policy `queue.no_such_domain_retry_after`.
    pub no_such_domain_retry_after: Option<String>,
    /// Policy `queue.warn_after`.
    pub warn_after: Option<String>,
}

/// The same, read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Times {
    retry_after: Option<Vec<u32>>,
    no_such_domain_retry_after: Option<Vec<u32>>,
    warn_after: Option<Vec<u32>>,
}

impl Times {
    pub(super) fn parse(settings: &TimesSettings) -> Result<Self, String> {
        let read = |key: &str, text: &Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let known = policy::find(key).ok_or_else(|| format!("there is no policy {key}"))?;
            known.check(Scope::Cluster, text).map_err(|error| format!("{key}: {error}"))?;
            policy::seconds_of(text).map(Some).ok_or_else(|| format!("{key}: {text:?} is no list of times"))
        };
        Ok(Self {
            retry_after: read("queue.retry_after", &settings.retry_after)?,
            no_such_domain_retry_after: read("queue.no_such_domain_retry_after", &settings.no_such_domain_retry_after)?,
            warn_after: read("queue.warn_after", &settings.warn_after)?,
        })
    }

    /// Whether the route says nothing.
    pub(super) fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// The schedule of a sender's policies with what the route says instead.
    #[must_use]
    pub fn over(&self, policies: &Schedule) -> Schedule {
        let or = |said: &Option<Vec<u32>>, otherwise: &Vec<u32>| said.as_ref().unwrap_or(otherwise).clone();
        Schedule {
            retry_after: or(&self.retry_after, &policies.retry_after),
            no_such_domain_retry_after: or(&self.no_such_domain_retry_after, &policies.no_such_domain_retry_after),
            warn_after: match &self.warn_after {
                // An empty one: never.
                Some(times) => times.first().copied().unwrap_or(0),
                None => policies.warn_after,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_route_says_goes_before_the_senders_policies_and_the_rest_stays() {
        let policies = Schedule { retry_after: vec![1, 2], no_such_domain_retry_after: vec![3], warn_after: 4 };
        let say = |text: &str| Some(text.to_owned());
        let cases = [
            (TimesSettings::default(), (vec![1, 2], vec![3], 4)),
            (TimesSettings { retry_after: say("5m,1h"), ..Default::default() }, (vec![300, 3600], vec![3], 4)),
            (TimesSettings { retry_after: say(""), ..Default::default() }, (vec![], vec![3], 4)),
            (TimesSettings { no_such_domain_retry_after: say("1m"), ..Default::default() }, (vec![1, 2], vec![60], 4)),
            (TimesSettings { warn_after: say("1d"), ..Default::default() }, (vec![1, 2], vec![3], 86_400)),
            (TimesSettings { warn_after: say(""), ..Default::default() }, (vec![1, 2], vec![3], 0)),
        ];
        for (settings, (retry_after, no_such_domain_retry_after, warn_after)) in cases {
            let found = Times::parse(&settings).unwrap().over(&policies);
            let expected = Schedule { retry_after, no_such_domain_retry_after, warn_after };
            assert_eq!(found, expected, "{settings:?}");
        }
    }

    #[test]
    fn times_are_bounded_as_those_of_the_policies() {
        for text in ["0s", "31d", "soon"] {
            let settings = TimesSettings { retry_after: Some(text.to_owned()), ..Default::default() };
            assert!(Times::parse(&settings).unwrap_err().starts_with("queue.retry_after: "), "{text}");
        }
    }
}

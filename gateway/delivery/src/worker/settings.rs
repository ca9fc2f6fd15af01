//! What an operator decides about the worker.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scheduler::Limits;

/// Bounds and rates of outbound mail of one process.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// Connections at a time, and up to as many again that wait for hosts that do not answer. Default 500; 1 to 10,000.
    pub connections_max: usize,
    /// Connections at a time to one destination, reached one by one. Default 20; 1 to 1,000.
    pub connections_per_destination_max: usize,
    /// Recipients of one message sent at a time. Default 100, which each server must take (RFC 5321 4.5.3.1.8);
    /// 1 to 1,000.
    pub recipients_per_message_max: usize,
    /// Recipients in memory. Default 5,000; 100 to 100,000.
    pub recipients_in_memory_max: usize,
    /// Messages a minute, to all destinations together; 0: as many as possible.
    pub messages_per_minute_max: u32,
    /// Messages a minute to one destination; 0: as many as possible.
    pub messages_per_destination_and_minute_max: u32,
    /// An unreachable destination is not tried again for so long: mail that becomes due meanwhile fails with it.
    /// Default 60 s; 0 to 3,600.
    pub unreachable_seconds: u32,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            connections_max: 500,
            connections_per_destination_max: 20,
            recipients_per_message_max: 100,
            recipients_in_memory_max: 5000,
            messages_per_minute_max: 0,
            messages_per_destination_and_minute_max: 0,
            unreachable_seconds: 60,
        }
    }
}

impl WorkerSettings {
    /// The first value that is out of range, with its key and what would fit.
    #[must_use]
    pub fn wrong(&self) -> Option<(&'static str, String, &'static str)> {
        let wrong = |key, value: usize, min, max, remedy| {
            (!(min..=max).contains(&value)).then(|| (key, format!("{value} is out of range"), remedy))
        };
        let per_destination = self.connections_per_destination_max;
        wrong("connections_max", self.connections_max, 1, 10_000, "give 1 to 10000 (default 500)")
            .or_else(|| {
                wrong("connections_per_destination_max", per_destination, 1, 1000, "give 1 to 1000 (default 20)")
            })
            .or_else(|| {
                let value = self.recipients_per_message_max;
                wrong("recipients_per_message_max", value, 1, 1000, "give 1 to 1000 (default 100)")
            })
            .or_else(|| {
                let value = self.recipients_in_memory_max;
                wrong("recipients_in_memory_max", value, 100, 100_000, "give 100 to 100000 (default 5000)")
            })
            .or_else(|| {
                let value = self.unreachable_seconds as usize;
                wrong("unreachable_seconds", value, 0, 3600, "give 0 to 3600 (default 60)")
            })
    }

    pub(super) fn limits(&self) -> Limits {
        let pause = |per_minute: u32| Duration::from_secs(60).checked_div(per_minute).unwrap_or(Duration::ZERO);
        Limits {
            recipients_max: self.recipients_in_memory_max,
            sessions_max: self.connections_max,
            sessions_per_destination_max: self.connections_per_destination_max,
            pause_per_destination: pause(self.messages_per_destination_and_minute_max),
            pause: pause(self.messages_per_minute_max),
            unreachable_for: Duration::from_secs(self.unreachable_seconds.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_named_with_its_remedy() {
        assert_eq!(WorkerSettings::default().wrong(), None);
        let none = WorkerSettings { connections_max: 0, ..WorkerSettings::default() };
        assert_eq!(
            none.wrong().map(|(key, problem, _)| (key, problem)),
            Some(("connections_max", "0 is out of range".to_owned()))
        );
        let long = WorkerSettings { unreachable_seconds: 3601, ..WorkerSettings::default() };
        assert_eq!(long.wrong().map(|(key, ..)| key), Some("unreachable_seconds"));
    }

    #[test]
    fn a_rate_is_a_pause_and_none_is_none() {
        let rates = WorkerSettings { messages_per_destination_and_minute_max: 120, ..WorkerSettings::default() };
        assert_eq!(rates.limits().pause_per_destination, Duration::from_millis(500));
        assert_eq!(rates.limits().pause, Duration::ZERO);
    }
}

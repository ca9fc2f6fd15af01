//! The texts of MTA-STS (RFC 8461 3): the TXT record that says there is a policy, and the policy.

/// RFC 8461 3.2: longest life of a policy in seconds, about a year.
const MAX_AGE_SECONDS: u32 = 31_557_600;
/// RFC 8461 3.3: what is longer need not be read.
pub(super) const POLICY_OCTETS_MAX: usize = 64 * 1024;
/// Patterns of one policy; more than any domain has mail hosts.
const PATTERNS_MAX: usize = 256;

/// RFC 8461 5: what is done about hosts that do not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// They get no mail.
    Enforce,
    /// They get it; failures are reported.
    Testing,
    /// There is no policy (any more).
    None,
}

/// RFC 8461 3.2: a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsPolicy {
    /// What is done.
    pub mode: Mode,
    /// How long it may be kept, in seconds; at most about a year.
    pub max_age_seconds: u32,
    /// Host names in lower case, `*.` in front for any one label.
    pub mx: Vec<String>,
}

impl StsPolicy {
    /// Reads a policy; `None` when it is none.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= POLICY_OCTETS_MAX)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            // Of what stands twice the first counts (3.2).
            match name.trim() {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" if mx.len() < PATTERNS_MAX => mx.push(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        let mode = match mode? {
            "enforce" => Mode::Enforce,
            "testing" => Mode::Testing,
            "none" => Mode::None,
            _ => return None,
        };
        let digits = max_age.filter(|age| (1..=10).contains(&age.len()) && age.bytes().all(|b| b.is_ascii_digit()))?;
        let max_age_seconds = digits.parse::<u64>().ok()?.min(u64::from(MAX_AGE_SECONDS));
        let max_age_seconds = u32::try_from(max_age_seconds).ok()?;
        let complete = version == Some("STSv1") && (mode == Mode::None || !mx.is_empty());
        complete.then_some(Self { mode, max_age_seconds, mx })
    }

    /// The policy as a text that reads the same.
    #[must_use]
    pub fn text(&self) -> String {
        let mode = match self.mode {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        };
        let mut text = format!("version: STSv1\r\nmode: {mode}\r\nmax_age: {}\r\n", self.max_age_seconds);
        self.mx.iter().for_each(|pattern| text.push_str(&format!("mx: {pattern}\r\n")));
        text
    }

    /// RFC 8461 4.1: whether a host is one of those that the policy names. `host` is in lower case.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent),
            None => host == pattern,
        })
    }
}

/// RFC 8461 3.1: the id in the TXT records of `_mta-sts`; `None` unless exactly one of them is such a record.
#[must_use]
pub(super) fn id(records: &[Vec<u8>]) -> Option<String> {
    let mut ids = records.iter().filter_map(|record| id_of(record));
    let first = ids.next()?;
    if ids.next().is_some() { None } else { first }
}

/// `None`: another record; `Some(None)`: such a record, without an id that is one.
fn id_of(record: &[u8]) -> Option<Option<String>> {
    let text = std::str::from_utf8(record).ok()?;
    let mut fields = text.split(';').map(str::trim);
    let is_version = |field: &str| field.split_once('=').is_some_and(|(n, v)| (n.trim(), v.trim()) == ("v", "STSv1"));
    if !fields.next().is_some_and(is_version) {
        return None;
    }
    let id = fields.filter_map(|field| field.split_once('=')).find(|(name, _)| name.trim() == "id");
    let id = id.map(|(_, id)| id.trim());
    Some(
        id.filter(|id| (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()))
            .map(str::to_owned),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";

    #[test]
    fn rfc_8461_3_2_a_policy_is_read_and_written() {
        let policy = StsPolicy::parse(POLICY.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age_seconds), (Mode::Enforce, 604_800));
        assert_eq!(policy.mx, ["mail.example.com", "*.example.net"]);
        assert_eq!(StsPolicy::parse(policy.text().as_bytes()), Some(policy));
        let lenient = "version:STSv1\nmode:testing\nmax_age:99999999999\n";
        assert_eq!(StsPolicy::parse(lenient.as_bytes()), None, "eleven digits");
        let twice = "version: STSv1\nmode: none\nmode: enforce\nmax_age: 4294967295\nfuture: x\n";
        let policy = StsPolicy::parse(twice.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age_seconds), (Mode::None, MAX_AGE_SECONDS));
    }

    #[test]
    fn what_is_incomplete_is_no_policy() {
        for (from, to) in [
            ("version: STSv1", "version: STSv2"),
            ("mode: enforce", "mode: maybe"),
            ("mode: enforce", "x: y"),
            ("max_age: 604800", "max_age: soon"),
            ("max_age: 604800", "max_age: -1"),
            ("max_age: 604800", "x: y"),
            ("mx: mail.example.com\r\nmx: *.example.net\r\n", ""),
            ("mode: enforce", "no colon here"),
        ] {
            assert_eq!(StsPolicy::parse(POLICY.replace(from, to).as_bytes()), None, "{to}");
        }
        assert_eq!(StsPolicy::parse(b"\xff"), None);
        assert_eq!(StsPolicy::parse(b""), None);
    }

    #[test]
    fn rfc_8461_4_1_a_wildcard_stands_for_one_label() {
        let policy = StsPolicy::parse(POLICY.as_bytes()).unwrap();
        for (host, named) in [
            ("mail.example.com", true),
            ("example.com", false),
            ("a.mail.example.com", false),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("xexample.net", false),
        ] {
            assert_eq!(policy.names(host), named, "{host}");
        }
    }

    #[test]
    fn rfc_8461_3_1_exactly_one_record_says_that_there_is_a_policy() {
        let id =
            |records: &[&str]| super::id(&records.iter().map(|record| record.as_bytes().to_vec()).collect::<Vec<_>>());
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]), Some("20160831085700Z".to_owned()));
        assert_eq!(id(&["v=spf1 -all", "v=STSv1;id=1"]), Some("1".to_owned()));
        for none in [
            &[][..],
            &["v=STSv1; id=1", "v=STSv1; id=2"],
            &["id=1; v=STSv1"],
            &["v=STSv1"],
            &["v=STSv1; id=a-b"],
            &["v=STSv10; id=1"],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
        assert_eq!(id(&[&format!("v=STSv1; id={}", "x".repeat(33))]), None);
    }
}

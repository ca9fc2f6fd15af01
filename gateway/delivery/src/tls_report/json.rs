//! A day's report as JSON (RFC 8460 4.4), and its id.

use jiff::{SignedDuration, Timestamp};
use securanet_gateway::model::tls_report::{DAY_MILLIS, TlsCounts, TlsFailure, TlsPolicyCounts};
use serde::Serialize;

/// What a report says besides its counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heading<'a> {
    /// Who sends it.
    pub organization: &'a str,
    /// Whom to ask about it.
    pub contact: &'a str,
    /// Names it; the same for whoever sends the same report again.
    pub id: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: &'a str,
    report_id: &'a str,
    policies: Vec<Policy<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Policy<'a> {
    policy: Applied<'a>,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Failure<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Applied<'a> {
    policy_type: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    policy_string: &'a [String],
    policy_domain: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mx_host: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Failure<'a> {
    result_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<String>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<&'a str>,
}

/// The first second of a day.
pub(super) fn begin(day: u32) -> Timestamp {
    let seconds = i64::from(day).saturating_mul(i64::try_from(DAY_MILLIS / 1000).unwrap_or(i64::MAX));
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// The last second of a day.
pub(super) fn end(day: u32) -> Timestamp {
    begin(day).saturating_add(SignedDuration::from_secs(86_399)).unwrap_or(Timestamp::MAX)
}

/// The report.
#[must_use]
pub fn report(heading: &Heading<'_>, counts: &TlsCounts) -> Vec<u8> {
    let report = Report {
        organization_name: heading.organization,
        date_range: DateRange {
            start_datetime: begin(counts.day).to_string(),
            end_datetime: end(counts.day).to_string(),
        },
        contact_info: heading.contact,
        report_id: heading.id,
        policies: counts.policies.iter().map(|policy| of_policy(policy, counts.domain.as_str())).collect(),
    };
    // Numbers, texts and lists of them can always be written.
    serde_json::to_vec(&report).unwrap_or_default()
}

fn of_policy<'a>(counts: &'a TlsPolicyCounts, domain: &'a str) -> Policy<'a> {
    Policy {
        policy: Applied {
            policy_type: counts.policy.kind.name(),
            policy_string: &counts.policy.strings,
            policy_domain: domain,
            mx_host: &counts.policy.mx,
        },
        summary: Summary {
            total_successful_session_count: counts.successes,
            total_failure_session_count: counts.failures,
        },
        failure_details: counts.details.iter().map(|(failure, count)| of_failure(failure, *count)).collect(),
    }
}

fn of_failure(failure: &TlsFailure, failed_session_count: u64) -> Failure<'_> {
    Failure {
        result_type: failure.result.name(),
        sending_mta_ip: failure.sending.map(|address| address.to_string()),
        receiving_mx_hostname: failure.host.as_deref(),
        receiving_ip: failure.receiving.map(|address| address.to_string()),
        failed_session_count,
        failure_reason_code: failure.reason.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{
        DomainName,
        tls_report::{TlsPolicy, TlsPolicyKind, TlsResult},
    };
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc_8460_appendix_b_the_example_is_written() {
        let failure =
            |result, sending: &str, host: Option<&str>, receiving: Option<&str>, reason: Option<&str>| TlsFailure {
                result,
                sending: Some(sending.parse().unwrap()),
                host: host.map(str::to_owned),
                receiving: receiving.map(|address| address.parse().unwrap()),
                reason: reason.map(str::to_owned),
            };
        let strings = ["version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"];
        let policy = TlsPolicyCounts {
            policy: TlsPolicy {
                kind: TlsPolicyKind::Sts,
                strings: strings.map(str::to_owned).to_vec(),
                mx: vec!["*.mail.company-y.example".to_owned()],
            },
            successes: 5326,
            failures: 303,
            details: vec![
                (
                    failure(
                        TlsResult::CertificateExpired,
                        "2001:db8:abcd:0012::1",
                        Some("mx1.mail.company-y.example"),
                        None,
                        None,
                    ),
                    100,
                ),
                (
                    failure(
                        TlsResult::StartTlsNotSupported,
                        "2001:db8:abcd:0013::1",
                        Some("mx2.mail.company-y.example"),
                        Some("203.0.113.56"),
                        None,
                    ),
                    200,
                ),
                (
                    failure(
                        TlsResult::ValidationFailure,
                        "198.51.100.62",
                        Some("mx-backup.mail.company-y.example"),
                        Some("203.0.113.58"),
                        Some("X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"),
                    ),
                    3,
                ),
            ],
        };
        let domain = DomainName::parse("company-y.example").unwrap();
        let counts = TlsCounts { day: 16_892, domain, policies: vec![policy] };
        let heading = Heading {
            organization: "Company-X",
            contact: "sts-reporting@company-x.example",
            id: "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
        };
        let written: serde_json::Value = serde_json::from_slice(&report(&heading, &counts)).unwrap();
        let expected = json!({
            "organization-name": "Company-X",
            "date-range": { "start-datetime": "2016-04-01T00:00:00Z", "end-datetime": "2016-04-01T23:59:59Z" },
            "contact-info": "sts-reporting@company-x.example",
            "report-id": "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
            "policies": [{
                "policy": {
                    "policy-type": "sts",
                    "policy-string": strings,
                    "policy-domain": "company-y.example",
                    "mx-host": ["*.mail.company-y.example"]
                },
                "summary": { "total-successful-session-count": 5326, "total-failure-session-count": 303 },
                "failure-details": [{
                    "result-type": "certificate-expired",
                    "sending-mta-ip": "2001:db8:abcd:12::1",
                    "receiving-mx-hostname": "mx1.mail.company-y.example",
                    "failed-session-count": 100
                }, {
                    "result-type": "starttls-not-supported",
                    "sending-mta-ip": "2001:db8:abcd:13::1",
                    "receiving-mx-hostname": "mx2.mail.company-y.example",
                    "receiving-ip": "203.0.113.56",
                    "failed-session-count": 200
                }, {
                    "result-type": "validation-failure",
                    "sending-mta-ip": "198.51.100.62",
                    "receiving-ip": "203.0.113.58",
                    "receiving-mx-hostname": "mx-backup.mail.company-y.example",
                    "failed-session-count": 3,
                    "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"
                }]
            }]
        });
        assert_eq!(written, expected);
    }
}

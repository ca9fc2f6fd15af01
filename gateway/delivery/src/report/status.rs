//! The report for programs: RFC 3464 message/delivery-status, or RFC 6533 message/global-delivery-status.

use securanet_gateway::model::outbound::{Attempt, Outcome, RecipientView};

use super::{Action, Report, text, xtext};

/// Octets of a remote answer that are passed on.
const DIAGNOSTIC_OCTETS_MAX: usize = 1000;
/// Octets of an id or address of the envelope's parameters, decoded.
const PARAMETER_OCTETS_MAX: usize = 600;

/// Cleans a text for this report: a global one may hold UTF-8.
fn fit(value: &str, octets_max: usize, global: bool) -> String {
    if global { text::clean(value, octets_max) } else { text::clean_ascii(value, octets_max) }
}

/// RFC 3464 2.2: the fields about the message.
pub(super) fn message(out: &mut String, report: &Report<'_>, global: bool) {
    if let Some(id) = &report.item.options.envelope_id {
        let id = xtext::decode(id).unwrap_or_else(|| id.clone());
        text::field(out, "Original-Envelope-Id", &fit(&id, PARAMETER_OCTETS_MAX, global));
    }
    text::field(out, "Reporting-MTA", &format!("dns; {}", report.names.hostname));
    text::field(out, "Arrival-Date", &text::date(report.item.queued));
}

/// RFC 3464 2.3: the fields about a recipient, after an empty line.
pub(super) fn recipient(out: &mut String, report: &Report<'_>, recipient: &RecipientView, global: bool) {
    out.push_str("\r\n");
    if let Some(original) = recipient.recipient.original.as_deref().and_then(|given| original(given, global)) {
        text::field(out, "Original-Recipient", &original);
    }
    text::field(out, "Final-Recipient", &typed(&recipient.recipient.address.to_string(), global));
    text::field(out, "Action", report.action.name());
    let last = last_attempt(recipient);
    let (class, subject, detail) = status_of(report.action, last);
    text::field(out, "Status", &format!("{class}.{subject}.{detail}"));
    if let Some(attempt) = last {
        if let Some(host) = attempt.host.as_deref().and_then(host_name) {
            text::field(out, "Remote-MTA", &format!("dns; {}", text::clean_ascii(host, 255)));
        }
        if !attempt.answer.is_empty() {
            let kind = if attempt.answer_is_remote { "smtp" } else { "X-SecuraNET" };
            let answer = fit(&attempt.answer, DIAGNOSTIC_OCTETS_MAX, global);
            text::field(out, "Diagnostic-Code", &format!("{kind}; {answer}"));
        }
        text::field(out, "Last-Attempt-Date", &text::date(attempt.at));
    }
    if report.action == Action::Delayed
        && let Some(until) = report.retry_until
    {
        text::field(out, "Will-Retry-Until", &text::date(until));
    }
}

/// The last attempt that was one.
pub(super) fn last_attempt(recipient: &RecipientView) -> Option<&Attempt> {
    let tried = |attempt: &&Attempt| !matches!(attempt.outcome, Outcome::NotTried { .. });
    recipient.history.iter().rfind(tried).or(recipient.history.last())
}

/// RFC 3463 status of a recipient: the attempt's own where it fits the action.
pub(super) fn status_of(action: Action, last: Option<&Attempt>) -> (u8, u16, u16) {
    let (class, subject, detail) = last.map_or((0, 0, 0), |attempt| attempt.status);
    let told = |wanted: u8| if class == 0 { (wanted, 0, 0) } else { (wanted, subject, detail) };
    match action {
        Action::Failed if last.is_some_and(|attempt| attempt.outcome == Outcome::NoSuchDomain) => (5, 1, 2),
        // What failed for a time only and was given up keeps its class (RFC 3464 2.3.4).
        Action::Failed if class == 4 => (class, subject, detail),
        Action::Failed => {
            if class == 2 {
                (5, 0, 0)
            } else {
                told(5)
            }
        }
        Action::Delayed => {
            if class == 2 {
                (4, 0, 0)
            } else {
                told(4)
            }
        }
        Action::Delivered | Action::Relayed | Action::Expanded => {
            if class == 2 {
                (class, subject, detail)
            } else {
                (2, 0, 0)
            }
        }
    }
}

/// The name in `name [address]:port`, which is `[address]` for a host without one.
fn host_name(host: &str) -> Option<&str> {
    let name = host.split(' ').next().filter(|name| !name.is_empty())?;
    Some(if name.starts_with('[') { name.split_inclusive(']').next()? } else { name })
}

/// RFC 3461 4.2 ORCPT as it is told: decoded, of its own type.
fn original(given: &str, global: bool) -> Option<String> {
    let (kind, address) = given.split_once(';')?;
    let kind = kind.trim();
    if kind.eq_ignore_ascii_case("utf-8") {
        return Some(typed(&xtext::decode_utf8_address(address), global));
    }
    let address = xtext::decode(address).unwrap_or_else(|| address.to_owned());
    let address = fit(&address, PARAMETER_OCTETS_MAX, global);
    Some(format!("{}; {address}", text::clean_ascii(kind, 64)))
}

/// An address with its type: RFC 6533 3 for what is not ASCII.
fn typed(address: &str, global: bool) -> String {
    let address = text::clean(address, PARAMETER_OCTETS_MAX);
    match (address.is_ascii(), global) {
        (true, _) => format!("rfc822; {address}"),
        (false, true) => format!("utf-8; {address}"),
        (false, false) => format!("utf-8; {}", xtext::encode_utf8_address(&address)),
    }
}

//! The report in words: what happened, to whom, why, what to do, and then what the other server said.

use securanet_gateway::model::outbound::{Attempt, Outcome, RecipientView};

use super::{Action, Report, original::Original, reason, status, text, xtext};

/// Octets of the remote's last answer.
const ANSWER_OCTETS_MAX: usize = 1000;
/// Octets of an answer in the list of attempts: there may be sixteen for each recipient.
const HISTORY_ANSWER_OCTETS_MAX: usize = 300;

/// The subject of a report.
pub(super) fn subject(action: Action, original: Option<&str>) -> String {
    let what = match action {
        Action::Failed => "Not delivered",
        Action::Delayed => "Delayed",
        Action::Delivered => "Delivered",
        Action::Relayed => "Handed over",
        Action::Expanded => "Sent on",
    };
    match original.filter(|subject| !subject.is_empty()) {
        Some(subject) => format!("{what}: {subject}"),
        None => format!("{what}: your message"),
    }
}

/// The words of one report.
pub(super) struct Words<'a, 'r> {
    report: &'r Report<'a>,
    /// The original's subject; empty when it is not known.
    subject: String,
}

impl<'a, 'r> Words<'a, 'r> {
    pub(super) fn new(report: &'r Report<'a>, original: Option<&Original<'_>>) -> Self {
        Self { report, subject: original.map(|original| original.subject.clone()).unwrap_or_default() }
    }

    /// Whether they hold anything else than ASCII.
    pub(super) fn is_eight_bit(&self) -> bool {
        let mut text = String::new();
        !self.subject.is_ascii()
            || self.report.recipients.iter().any(|recipient| {
                text.clear();
                self.recipient(&mut text, recipient);
                !text.is_ascii()
            })
    }

    /// What is true of all recipients.
    pub(super) fn introduction(&self, out: &mut String) {
        let report = self.report;
        let several = report.recipients.len() != 1;
        let whom = if several { "these recipients" } else { "this recipient" };
        let message = if self.subject.is_empty() {
            format!("Your message of {}", text::plain_time(report.item.queued))
        } else {
            format!("Your message \"{}\" of {}", self.subject, text::plain_time(report.item.queued))
        };
        let what = match report.action {
            Action::Failed => format!("{message} could not be delivered to {whom}. Nothing more will be tried."),
            Action::Delayed => format!("{message} has not been delivered to {whom} yet. {}", self.prospect()),
            Action::Delivered => format!("{message} was delivered to {whom}."),
            Action::Expanded => format!(
                "{message} has reached {whom}, and was sent on from there to others. Of those you will hear only where \
                 it fails, if you asked for that."
            ),
            Action::Relayed => format!(
                "{message} was handed over to the mail server of {whom}. That server sends no confirmation of its \
                 own, so this is the last that we can tell you about it."
            ),
        };
        text::wrap(out, "", "", &what);
    }

    fn prospect(&self) -> String {
        let trying = match self.report.retry_until {
            Some(until) => format!("We go on trying by ourselves until {}", text::plain_time(until)),
            None => "We go on trying by ourselves".to_owned(),
        };
        format!("{trying}. You need not do anything, and please do not send it again: it would arrive twice.")
    }

    /// What is true of one recipient.
    pub(super) fn recipient(&self, out: &mut String, recipient: &RecipientView) {
        let address = recipient.recipient.address.to_string();
        out.push_str("\r\n");
        text::wrap(out, "", "  ", &address);
        if let Some(written) = written_to(recipient).filter(|written| !written.eq_ignore_ascii_case(&address)) {
            text::wrap(out, "  ", "  ", &format!("(you have written to {written})"));
        }
        if !matches!(self.report.action, Action::Failed | Action::Delayed) {
            return;
        }
        let last = status::last_attempt(recipient);
        self.why(out, recipient, last);
        if let Some(attempt) = last {
            said(out, attempt);
        }
        if recipient.uncertain > 0 {
            let unsure = "The connection broke when all was sent: the recipient may have the message nevertheless.";
            text::wrap(out, "  Please note: ", "    ", unsure);
        }
        if recipient.history.len() > 1 || self.report.action == Action::Delayed {
            history(out, recipient);
        }
    }

    fn why(&self, out: &mut String, recipient: &RecipientView, last: Option<&Attempt>) {
        let Some(attempt) = last else {
            text::wrap(out, "  Why: ", "    ", "An administrator has ended the delivery before it was tried.");
            return;
        };
        let status = status::status_of(self.report.action, last);
        let is_literal = recipient.recipient.address.named().is_none();
        let reason = match reason::find(status, Some(attempt.outcome)) {
            _ if is_literal && !attempt.answer_is_remote && matches!(status, (_, 1, 2)) => reason::NUMBERED_HOST,
            found if found == reason::REFUSED && !attempt.answer_is_remote => reason::ENDED_HERE,
            _ if self.report.action == Action::Delayed && matches!(status, (4, 7, 0 | 1)) => reason::NOT_YET,
            found => found,
        };
        let domain = recipient.recipient.address.host_unicode();
        text::wrap(out, "  Why: ", "    ", &reason.why.replace("{domain}", &domain));
        if self.report.action != Action::Failed {
            return;
        }
        if attempt.outcome != Outcome::Permanent && recipient.failures > 1 {
            let tried = format!("We have tried {} times; the attempts are listed below.", recipient.failures);
            text::wrap(out, "    ", "    ", &tried);
        }
        text::wrap(out, "  What you can do: ", "    ", reason.advice);
    }

    /// Who says so.
    pub(super) fn signature(&self, out: &mut String) {
        out.push_str("\r\n");
        let host = &self.report.names.hostname;
        text::wrap(out, "", "", &format!("This message was written by the mail server {host}, not by a person."));
        if !self.report.item.trace_id.is_empty() {
            let id = text::clean_ascii(&self.report.item.trace_id, 100);
            text::wrap(out, "", "", &format!("Your mail administrator finds the message under the number {id}."));
        }
    }
}

/// The address that the sender wrote, where the envelope says so.
fn written_to(recipient: &RecipientView) -> Option<String> {
    let (kind, address) = recipient.recipient.original.as_deref()?.split_once(';')?;
    let decoded = match kind.to_ascii_lowercase().as_str() {
        "rfc822" => xtext::decode(address)?,
        "utf-8" => xtext::decode_utf8_address(address),
        _ => return None,
    };
    Some(text::clean(&decoded, 300))
}

/// The last words, of the remote server or ours.
fn said(out: &mut String, attempt: &Attempt) {
    if attempt.answer.is_empty() {
        return;
    }
    let host = text::clean(attempt.host.as_deref().unwrap_or_default(), 300);
    let who = match (attempt.answer_is_remote, host.as_str()) {
        (true, "") => "The other server said:".to_owned(),
        (true, host) => format!("The server {host} said:"),
        (false, "") => "Our server noted:".to_owned(),
        (false, host) => format!("Our server noted about {host}:"),
    };
    text::wrap(out, "  ", "    ", &who);
    let mut left = ANSWER_OCTETS_MAX;
    for line in attempt.answer.lines().filter(|line| !line.trim().is_empty()) {
        let line = text::clean(line, left);
        text::wrap(out, "      ", "      ", &line);
        left = left.saturating_sub(line.len());
        if left == 0 {
            break;
        }
    }
}

/// All attempts that are known, oldest first.
fn history(out: &mut String, recipient: &RecipientView) {
    text::wrap(out, "  ", "    ", "All attempts:");
    let missing = recipient.attempts.saturating_sub(u32::try_from(recipient.history.len()).unwrap_or(u32::MAX));
    for (number, attempt) in recipient.history.iter().enumerate() {
        if number == 1 && missing > 0 {
            text::wrap(out, "      ", "      ", &format!("({missing} attempts are not listed)"));
        }
        let host = attempt.host.as_deref().map(|host| format!(" {}", text::clean(host, 300))).unwrap_or_default();
        text::wrap(out, "      ", "        ", &format!("{}{host}", text::plain_time(attempt.at)));
        let answer = text::clean(&attempt.answer, HISTORY_ANSWER_OCTETS_MAX);
        text::wrap(out, "        ", "        ", if answer.is_empty() { ended(attempt.outcome) } else { &answer });
    }
}

/// How an attempt ended, where nobody has said more.
const fn ended(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::TemporaryAnswer => "refused for now",
        Outcome::TemporaryConnection => "no connection",
        Outcome::TemporaryDns => "no answer of the name servers",
        Outcome::TemporaryTls => "no secure connection",
        Outcome::Permanent => "refused",
        Outcome::NoSuchDomain => "no such domain",
        Outcome::Uncertain => "the connection broke when all was sent",
        Outcome::NotTried { .. } => "not tried, for a reason of our own",
        Outcome::Expanded => "sent on",
    }
}

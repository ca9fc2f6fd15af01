//! What a status means in words that people use, and what they can do: a table by RFC 3463 and RFC 7504/8689 codes.
//!
//! `{domain}` stands for the recipient's domain or address literal. A row is chosen by the exact code, then by its subject, then by how
//! the attempt ended.

use securanet_gateway::model::outbound::Outcome;

/// Why, and what to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reason {
    /// One or two sentences.
    pub(super) why: &'static str,
    /// One or two sentences to the sender.
    pub(super) advice: &'static str,
}

const fn reason(why: &'static str, advice: &'static str) -> Reason {
    Reason { why, advice }
}

const CHECK_ADDRESS: &str = "Compare the address with a message or a card that you have from this person, correct it and send the message again.";
const ASK_RECIPIENT: &str =
    "Reach the recipient in another way (by telephone, for example) and tell them what the other server said.";
const TELL_ADMINISTRATOR: &str =
    "You cannot change this yourself. Please forward this message to your mail administrator.";
const LATER: &str = "Send the message again later. Should it fail again, reach the recipient in another way.";

/// Rows by `subject.detail` of the status.
const BY_CODE: &[((u16, u16), Reason)] = &[
    ((1, 1), reason("There is no mailbox with this address at {domain}.", CHECK_ADDRESS)),
    (
        (1, 2),
        reason(
            "There is no domain {domain}, so there is nobody who could take the message.",
            "Check what you wrote after the @, correct it and send the message again.",
        ),
    ),
    ((1, 3), reason("The other server does not understand how this address is written.", CHECK_ADDRESS)),
    (
        (1, 4),
        reason(
            "Several people could be meant by this address.",
            "Ask the recipient for an address that is theirs alone.",
        ),
    ),
    (
        (1, 6),
        reason(
            "The recipient has moved and has left no forwarding address.",
            "Ask the recipient for the current address.",
        ),
    ),
    ((1, 7), reason("The other server does not understand your own address.", TELL_ADMINISTRATOR)),
    ((1, 8), reason("The other server does not accept your own address as a sender.", TELL_ADMINISTRATOR)),
    (
        (1, 10),
        reason(
            "The domain {domain} has declared that it takes no mail at all.",
            "Ask the recipient for an address in another domain.",
        ),
    ),
    ((2, 1), reason("The recipient's mailbox is switched off or does not take messages now.", ASK_RECIPIENT)),
    (
        (2, 2),
        reason("The recipient's mailbox is full.", "Ask the recipient to make room, then send the message again."),
    ),
    (
        (2, 3),
        reason(
            "The message is larger than the recipient may receive.",
            "Send a smaller message, or share the attachment in another way, for example with a link.",
        ),
    ),
    ((2, 4), reason("The address is a mailing list that the other server could not resolve.", ASK_RECIPIENT)),
    ((3, 1), reason("The other server has no room left for messages.", LATER)),
    ((3, 2), reason("The other server takes no messages at present.", LATER)),
    (
        (3, 4),
        reason(
            "The message is larger than the other server accepts.",
            "Send a smaller message, or share the attachment in another way, for example with a link.",
        ),
    ),
    ((3, 5), reason("The other server is not set up to take mail for this address.", ASK_RECIPIENT)),
    ((4, 1), reason("No mail server of {domain} answered.", LATER)),
    ((4, 2), reason("The connection to the mail server of {domain} broke each time.", LATER)),
    ((4, 3), reason("The servers that know where mail for {domain} goes gave no usable answer.", LATER)),
    (
        (4, 4),
        reason(
            "Nobody says which server takes mail for {domain}.",
            "Check what you wrote after the @. If it is right, the owner of that domain has to mend its settings.",
        ),
    ),
    ((4, 5), reason("The other server was too busy.", LATER)),
    (
        (4, 6),
        reason("The message would go round in circles: servers hand it to each other and back.", TELL_ADMINISTRATOR),
    ),
    ((4, 7), reason("The message could not be delivered within the time that it may take.", LATER)),
    (
        (5, 3),
        reason(
            "The message has more recipients than the other server accepts at a time.",
            "Send the message to fewer recipients at a time.",
        ),
    ),
    (
        (6, 3),
        reason(
            "The message holds characters or data that the other server cannot take, and changing it would break it.",
            "Send it without a digital signature, or put the text into an attachment.",
        ),
    ),
    (
        (6, 7),
        reason(
            "An address or the subject has letters that the other server does not support.",
            "Use an address and a subject in plain Latin letters, where there is such an address.",
        ),
    ),
    (
        (7, 1),
        reason(
            "The other server has refused the message by its own rules; it may take it for unwanted mail.",
            ASK_RECIPIENT,
        ),
    ),
    ((7, 2), reason("You may not write to this mailing list.", "Ask the owner of the list to let you.")),
    (
        (7, 10),
        reason(
            "A secure connection is demanded and the other server offered none that can be trusted.",
            TELL_ADMINISTRATOR,
        ),
    ),
    ((7, 13), reason("The account of the recipient is switched off.", ASK_RECIPIENT)),
    (
        (7, 23),
        reason(
            "The other server could not confirm that our server may send mail for your domain (SPF).",
            TELL_ADMINISTRATOR,
        ),
    ),
    ((7, 25), reason("The other server does not trust the name of our server.", TELL_ADMINISTRATOR)),
    (
        (7, 26),
        reason(
            "The other server could not confirm that the message comes from your domain (SPF, DKIM).",
            TELL_ADMINISTRATOR,
        ),
    ),
    (
        (7, 30),
        reason(
            "You demanded a secure way for this message, and there is none to this recipient.",
            "Send it again without that demand, or reach the recipient in another way.",
        ),
    ),
];

/// Rows by the subject of the status.
const BY_SUBJECT: &[(u16, Reason)] = &[
    (1, reason("The other server does not accept this address.", CHECK_ADDRESS)),
    (2, reason("The recipient's mailbox cannot take the message.", ASK_RECIPIENT)),
    (3, reason("The mail system of {domain} cannot take the message.", LATER)),
    (4, reason("The message found no way to a mail server of {domain}.", LATER)),
    (5, reason("Our server and the other one could not agree on how to transfer the message.", TELL_ADMINISTRATOR)),
    (
        6,
        reason(
            "The other server does not accept what is in the message.",
            "Try to send it in another form: as plain text, or with the attachment as a link.",
        ),
    ),
    (7, reason("The other server has refused the message for reasons of security or by its own rules.", ASK_RECIPIENT)),
];

/// What a status and the end of an attempt mean.
pub(super) fn find(status: (u8, u16, u16), outcome: Option<Outcome>) -> Reason {
    let (_, subject, detail) = status;
    if outcome == Some(Outcome::NoSuchDomain) {
        return by_code(1, 2).unwrap_or(REFUSED);
    }
    by_code(subject, detail)
        .or_else(|| BY_SUBJECT.iter().find(|(key, _)| *key == subject).map(|(_, reason)| *reason))
        .or_else(|| match outcome? {
            Outcome::TemporaryConnection => by_code(4, 1),
            Outcome::Uncertain => by_code(4, 2),
            Outcome::TemporaryDns => by_code(4, 3),
            Outcome::TemporaryTls => by_code(7, 10),
            _ => None,
        })
        .unwrap_or(REFUSED)
}

pub(super) const REFUSED: Reason = reason("The other server has not accepted the message.", ASK_RECIPIENT);
/// In the place of [`REFUSED`] where no other server has said anything.
pub(super) const ENDED_HERE: Reason = reason(
    "Our own mail system has ended the delivery.",
    "Ask your mail administrator, or reach the recipient in another way.",
);
/// In the place of 1.2 where a host without a name is one that no mail is carried to.
pub(super) const NUMBERED_HOST: Reason = reason(
    "What stands after the @ is no domain but the number of a computer, and our server sends no mail to that one.",
    "Ask the recipient for an address with a name after the @, such as example.org.",
);
/// In a notice of delay, in the place of a refusal for reasons of policy: mostly it is greylisting.
pub(super) const NOT_YET: Reason = reason(
    "The other server does not take the message yet. Many servers let senders that they do not know wait for a while.",
    ASK_RECIPIENT,
);

fn by_code(subject: u16, detail: u16) -> Option<Reason> {
    BY_CODE.iter().find(|(key, _)| *key == (subject, detail)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_in_plain_words() {
        let cases = [
            ((5, 1, 1), None, "There is no mailbox with this address at {domain}."),
            ((5, 1, 99), None, "The other server does not accept this address."),
            ((5, 1, 10), None, "The domain {domain} has declared that it takes no mail at all."),
            ((4, 2, 2), None, "The recipient's mailbox is full."),
            ((5, 3, 4), None, "The message is larger than the other server accepts."),
            ((4, 4, 1), Some(Outcome::TemporaryConnection), "No mail server of {domain} answered."),
            ((4, 0, 0), Some(Outcome::TemporaryConnection), "No mail server of {domain} answered."),
            (
                (4, 0, 0),
                Some(Outcome::TemporaryDns),
                "The servers that know where mail for {domain} goes gave no usable answer.",
            ),
            (
                (4, 4, 4),
                Some(Outcome::NoSuchDomain),
                "There is no domain {domain}, so there is nobody who could take the message.",
            ),
            (
                (4, 0, 0),
                Some(Outcome::TemporaryTls),
                "A secure connection is demanded and the other server offered none that can be trusted.",
            ),
            ((5, 7, 99), None, "The other server has refused the message for reasons of security or by its own rules."),
            ((5, 5, 0), None, "Our server and the other one could not agree on how to transfer the message."),
            ((5, 0, 0), Some(Outcome::Permanent), "The other server has not accepted the message."),
        ];
        for (status, outcome, why) in cases {
            assert_eq!(find(status, outcome).why, why, "{status:?}");
        }
    }

    #[test]
    fn each_row_is_met_and_speaks_to_people() {
        for ((subject, detail), row) in BY_CODE {
            assert_eq!(find((5, *subject, *detail), None), *row, "{subject}.{detail} stands twice");
            assert!(row.why.ends_with('.') && row.advice.ends_with('.'));
            assert!(row.why.is_ascii() && row.advice.is_ascii());
        }
    }
}

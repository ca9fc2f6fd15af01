//! UTF-8 in a header, written in ASCII (RFC 2047): what programs without SMTPUTF8 have sent all along.
//!
//! Only where a reader is shown the same: in unstructured fields, in the names of mailboxes and in their comments. An
//! address itself has no ASCII form, nor have fields that are not known here.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Octets of text in one encoded word: 52 of base64 with 12 around them fit behind `Subject: ` on a line of 76, the
/// most that RFC 2047 2 allows.
const WORD_OCTETS: usize = 39;
/// Longer than this a word does not stand on a line with its white space.
const TOKEN_OCTETS_MAX: usize = 900;
/// Columns of a folded line.
const LINE_COLUMNS: usize = 76;

/// Fields with any text.
const UNSTRUCTURED: &[&str] =
    &["subject", "comments", "organization", "content-description", "thread-topic", "user-agent"];
/// Fields with mailboxes, or something in angle brackets with a name before it.
const MAILBOXES: &[&str] = &[
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-bcc",
    "mail-followup-to",
    "disposition-notification-to",
    "list-id",
];

/// The encoded words of a text; each is at most 64 octets.
pub(crate) fn encoded_words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > WORD_OCTETS) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.iter().map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word))).collect()
}

/// A field (unfolded, with its name) in ASCII, folded, with its CRLF; `None` when that would change what it says.
pub(super) fn encode_field(field: &str) -> Option<Vec<u8>> {
    let (name, value) = field.split_once(':')?;
    let known = name.trim_end().to_ascii_lowercase();
    if !known.bytes().all(|b| b.is_ascii_graphic()) || value.chars().any(|c| c.is_control() && c != '\t') {
        return None;
    }
    let tokens = if UNSTRUCTURED.contains(&known.as_str()) || known.starts_with("x-") {
        unstructured(value)
    } else if MAILBOXES.contains(&known.as_str()) {
        mailboxes(value)?
    } else {
        return None;
    };
    if tokens.iter().any(|token| token.len() > TOKEN_OCTETS_MAX) {
        return None;
    }
    let mut out = format!("{}:", name.trim_end());
    let mut column = out.len();
    for token in &tokens {
        if column + 1 + token.len() > LINE_COLUMNS {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(token);
        column += 1 + token.len();
    }
    out.push_str("\r\n");
    out.is_ascii().then(|| out.into_bytes())
}

/// Words of an unstructured value. The white space between two encoded words is not shown, so words that stand
/// together are encoded together.
fn unstructured(value: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut run = String::new();
    for word in value.split([' ', '\t']).filter(|word| !word.is_empty()) {
        if word.is_ascii() {
            finish_run(&mut run, &mut tokens);
            tokens.push(word.to_owned());
        } else {
            if !run.is_empty() {
                run.push(' ');
            }
            run.push_str(word);
        }
    }
    finish_run(&mut run, &mut tokens);
    tokens
}

fn finish_run(run: &mut String, tokens: &mut Vec<String>) {
    if !run.is_empty() {
        tokens.extend(encoded_words(run));
        run.clear();
    }
}

/// Tokens of a list of mailboxes: names and comments encoded, addresses as they are.
fn mailboxes(value: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    // What was read since the last separator and may be a name, or an address without brackets.
    let mut phrase = Phrase::default();
    let mut rest = value;
    while let Some(first) = rest.chars().next() {
        let (taken, behind) = match first {
            '"' => quoted(rest)?,
            '(' => (rest.split_once(')')?.0, rest.split_once(')')?.1),
            '<' => (rest.split_once('>')?.0, rest.split_once('>')?.1),
            ',' | ';' | ':' => ("", &rest[1..]),
            _ => rest.split_at(rest.find(['"', '(', '<', ',', ';', ':']).unwrap_or(rest.len())),
        };
        match first {
            '"' => phrase.quoted(taken),
            '(' => {
                phrase.finish(true, &mut tokens)?;
                tokens.push(comment(&taken[1..])?);
            }
            '<' => {
                phrase.finish(true, &mut tokens)?;
                tokens.push(format!("{taken}>"));
            }
            ',' | ';' => {
                phrase.finish(false, &mut tokens)?;
                attach(&mut tokens, first);
            }
            ':' => {
                phrase.finish(true, &mut tokens)?;
                attach(&mut tokens, first);
            }
            _ => phrase.text(taken),
        }
        rest = behind;
    }
    phrase.finish(false, &mut tokens)?;
    tokens.iter().all(|token| token.is_ascii()).then_some(tokens)
}

/// Puts a separator behind the last token.
fn attach(tokens: &mut Vec<String>, separator: char) {
    match tokens.last_mut() {
        Some(last) => last.push(separator),
        None => tokens.push(separator.to_string()),
    }
}

/// The content of a quoted string and what stands behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| (&text[1..at], &text[at + 1..]))
}

/// A comment without comments in it.
fn comment(content: &str) -> Option<String> {
    if content.is_ascii() {
        return Some(format!("({content})"));
    }
    let plain = !content.contains(['(', '\\']);
    plain.then(|| format!("({})", encoded_words(content.trim()).join(" ")))
}

/// Words that are a name, or an address.
#[derive(Default)]
struct Phrase {
    /// As written.
    written: String,
    /// As shown: without quotes.
    shown: String,
}

impl Phrase {
    fn text(&mut self, text: &str) {
        self.written.push_str(text);
        self.shown.push_str(text);
    }

    fn quoted(&mut self, content: &str) {
        self.written.push('"');
        self.written.push_str(content);
        self.written.push('"');
        let mut escaped = false;
        self.shown.extend(content.chars().filter(|&c| {
            escaped = c == '\\' && !escaped;
            !escaped
        }));
    }

    /// Ends it; `is_name`: what follows says that it is no address.
    fn finish(&mut self, is_name: bool, tokens: &mut Vec<String>) -> Option<()> {
        let (written, shown) = (std::mem::take(&mut self.written), std::mem::take(&mut self.shown));
        if written.is_ascii() {
            // A quoted string may have spaces: it is not taken apart.
            tokens.extend(Some(written.trim().to_owned()).filter(|text| !text.is_empty()));
            return Some(());
        }
        if !is_name || written.contains('@') {
            return None;
        }
        let words: Vec<&str> = shown.split_whitespace().collect();
        tokens.extend(encoded_words(&words.join(" ")));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn ascii(field: &str) -> Option<String> {
        encode_field(field).map(|octets| String::from_utf8(octets).unwrap())
    }

    #[test]
    fn readers_are_shown_the_same_subject() {
        for subject in ["Grüße", "Grüße aus Köln an alle", "a ü ö b", "Re: ü", &"日本語のとても長い件名".repeat(10)]
        {
            let field = ascii(&format!("Subject: {subject}")).unwrap();
            assert!(field.is_ascii() && field.split("\r\n").all(|line| line.len() <= 76), "{field}");
            let parsed = MessageParser::new().parse_headers(field.as_bytes()).unwrap();
            assert_eq!(parsed.subject(), Some(subject), "{field}");
        }
        assert_eq!(ascii("X-Name: a  ü").as_deref(), Some("X-Name: a =?utf-8?B?w7w=?=\r\n"));
    }

    #[test]
    fn readers_are_shown_the_same_mailboxes() {
        let values = [
            "Jörg Müller <j@example.org>",
            "\"Müller, Jörg\" <j@example.org>, b@example.org, \"x, y\" <c@example.org>",
            "Bücher freunde: j@example.org, Ö <o@example.org>;",
        ];
        for value in values {
            let before = format!("To: {value}\r\n");
            let after = ascii(before.trim_end()).unwrap();
            let parsed = |field: &str| {
                MessageParser::new().parse_headers(field.as_bytes()).unwrap().to().unwrap().clone().into_owned()
            };
            assert_eq!(parsed(&after), parsed(&before), "{after}");
        }
        assert_eq!(
            ascii("From: a@example.org (Jörg)").as_deref(),
            Some("From: a@example.org (=?utf-8?B?SsO2cmc=?=)\r\n")
        );
    }

    #[test]
    fn what_has_no_ascii_form_is_left_alone() {
        let fields = [
            "To: jörg@example.org",
            "To: <jörg@example.org>",
            "To: \"jörg\"@example.org",
            "To: jörg",
            "To: Ö \"x",
            "To: a@example.org (ö (x))",
            "Received: from ö",
            "DKIM-Signature: ü",
            "no field ü",
            "X-\r-: ü",
            "Subject: ü \u{1b}[2J",
        ];
        for field in fields {
            assert_eq!(ascii(field), None, "{field}");
        }
    }
}

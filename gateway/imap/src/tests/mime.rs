//! Just enough MIME to make the summaries of test messages: the real splitter is the store's.

use securanet_gateway::model::summary::{Envelope, EnvelopeAddress, Inside, Part, Summary};

pub(crate) fn summary(message: &[u8]) -> Summary {
    let (envelope, structure) = message_at(message, 0, message.len());
    Summary {
        header_size_bytes: structure.body_offset,
        header_has_utf8: !message[..structure.body_offset as usize].is_ascii(),
        preview: "a preview".to_owned(),
        envelope,
        structure,
    }
}

fn field(header: &str, name: &str) -> Option<String> {
    let unfolded = header.replace("\r\n ", " ").replace("\r\n\t", " ");
    let own = |line: &str| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    unfolded.lines().find_map(own)
}

fn addresses(value: Option<String>) -> Vec<EnvelopeAddress> {
    let address = |text: &str| {
        let (name, address) = text.trim().trim_end_matches('>').rsplit_once('<').unwrap_or(("", text.trim()));
        let (mailbox, host) = address.split_once('@').unwrap_or((address, ""));
        let name = name.trim().trim_matches('"');
        let given = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        EnvelopeAddress { name: given(name), mailbox: given(mailbox), host: given(host) }
    };
    value.iter().flat_map(|value| value.split(',')).map(address).collect()
}

fn message_at(all: &[u8], from: usize, to: usize) -> (Envelope, Part) {
    let part = part_at(all, from, to);
    let header = String::from_utf8_lossy(&all[from..part.body_offset as usize]).into_owned();
    let text = |name| field(&header, name).map(String::into_bytes);
    let list = |name| addresses(field(&header, name));
    let or_from = |name| if field(&header, name).is_some() { list(name) } else { list("From") };
    let envelope = Envelope {
        date: text("Date"),
        subject: text("Subject"),
        from: list("From"),
        sender: or_from("Sender"),
        reply_to: or_from("Reply-To"),
        to: list("To"),
        cc: list("Cc"),
        bcc: list("Bcc"),
        in_reply_to: text("In-Reply-To"),
        message_id: text("Message-ID"),
    };
    (envelope, part)
}

fn part_at(all: &[u8], from: usize, to: usize) -> Part {
    let find = |needle: &[u8], from: usize| {
        all[from..to].windows(needle.len()).position(|window| window == needle).map(|at| from + at)
    };
    let body =
        if all[from..to].starts_with(b"\r\n") { from + 2 } else { find(b"\r\n\r\n", from).map_or(to, |at| at + 4) };
    let header = String::from_utf8_lossy(&all[from..body]).into_owned();
    let content_type = field(&header, "Content-Type").unwrap_or_else(|| "text/plain".to_owned());
    let mut pieces = content_type.split(';');
    let (media_type, subtype) = pieces.next().unwrap_or("").trim().split_once('/').unwrap_or(("text", "plain"));
    let parameters: Vec<(Vec<u8>, Vec<u8>)> = pieces
        .filter_map(|piece| piece.trim().split_once('='))
        .map(|(name, value)| (name.to_lowercase().into_bytes(), value.trim_matches('"').as_bytes().to_vec()))
        .collect();
    let boundary = parameters.iter().find(|(name, _)| name == b"boundary").map(|(_, value)| value.clone());
    let inside = match (media_type, boundary) {
        ("multipart", Some(boundary)) => Inside::Parts(parts(all, body, to, &boundary)),
        ("message", _) => Inside::Message(Box::new(message_at(all, body, to))),
        _ => Inside::Nothing,
    };
    Part {
        media_type: media_type.to_lowercase().into_bytes(),
        media_subtype: subtype.to_lowercase().into_bytes(),
        parameters,
        encoding: field(&header, "Content-Transfer-Encoding").unwrap_or("7BIT".to_owned()).to_uppercase().into_bytes(),
        header_offset: from as u64,
        body_offset: body as u64,
        body_size_bytes: (to - body) as u64,
        lines: all[body..to].iter().filter(|&&octet| octet == b'\n').count() as u64,
        inside,
        ..Part::default()
    }
}

fn parts(all: &[u8], from: usize, to: usize, boundary: &[u8]) -> Vec<Part> {
    let delimiter = [b"--", boundary].concat();
    let begins: Vec<usize> =
        (from..to).filter(|&at| all[at..to].starts_with(&delimiter) && (at == from || all[at - 1] == b'\n')).collect();
    begins
        .windows(2)
        .map(|pair| {
            let begin = pair[0] + delimiter.len() + 2;
            part_at(all, begin, (pair[1] - 2).max(begin))
        })
        .collect()
}

//! What a release has left behind: a data directory, and what its server answered about it.
//!
//! `tests/fixtures/NAME/` holds both: `data.tar.gz` as a killed server left it, and `answers.json` with the questions
//! that were asked of a server restarted on it. A later release is asked the same and must answer the same.
//! `src/bin/fixture.rs` makes such a folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{dialogue::Dialogue, server::Server};

/// One question to IMAP, or UIDL to POP3, and its answer without what only belongs to the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// Who asks, as a local part.
    pub account: String,
    /// What; `UIDL` goes to POP3.
    pub question: String,
    /// The untagged lines.
    pub answer: Vec<String>,
}

/// Asks one account in order. IMAP is asked as IMAP4rev2, which has no `\Recent`: that belongs to sessions. What EXAMINE
/// answers is left out, because it is worded freely; STATUS has the same numbers.
///
/// # Errors
/// When a question is refused.
pub fn ask(server: &Server, account: &str, questions: &[&str]) -> anyhow::Result<Vec<Said>> {
    let mut imap = Dialogue::imap(server.address("imap"), account)?;
    imap.imap_ok("ENABLE IMAP4rev2")?;
    let mut said = Vec::new();
    for &question in questions {
        let answer = match question {
            "UIDL" => unique_ids(server, account)?,
            question if question.starts_with("EXAMINE") => imap.imap_ok(question).map(|_| Vec::new())?,
            question => imap.imap_ok(question)?,
        };
        said.push(Said { account: account.to_owned(), question: question.to_owned(), answer });
    }
    Ok(said)
}

fn unique_ids(server: &Server, account: &str) -> anyhow::Result<Vec<String>> {
    let mut pop3 = Dialogue::pop3(server.address("pop3"), account)?;
    pop3.pop3_ok("UIDL")?;
    let list = String::from_utf8(pop3.pop3_body()?)?;
    pop3.pop3_ok("QUIT")?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// A release's folder.
pub struct Left {
    folder: PathBuf,
    /// A device password of the account `ann`.
    pub device_password: String,
    /// What was asked and answered.
    pub said: Vec<Said>,
}

impl Left {
    /// Reads a folder.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("answers.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let answers: Value = serde_json::from_str(&text)?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        let said = answers["said"].as_array().context("said")?.iter().map(|said| {
            let answer = said["answer"].as_array().context("answer")?.iter().map(text).collect::<Result<_, _>>()?;
            Ok(Said { account: text(&said["account"])?, question: text(&said["question"])?, answer })
        });
        let said = said.collect::<anyhow::Result<_>>()?;
        Ok(Self { folder: folder.to_owned(), device_password: text(&answers["device_password"])?, said })
    }

    /// Writes `answers.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(folder: &Path, device_password: &str, said: &[Said]) -> anyhow::Result<()> {
        let one = |said: &Said| json!({ "account": said.account, "question": said.question, "answer": said.answer });
        let said: Vec<Value> = said.iter().map(one).collect();
        let answers = json!({ "device_password": device_password, "said": said });
        Ok(fs::write(folder.join("answers.json"), format!("{answers:#}\n"))?)
    }

    /// The data directory, packed.
    pub fn archive(&self) -> PathBuf {
        self.folder.join("data.tar.gz")
    }
}

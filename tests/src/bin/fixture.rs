//! Makes a folder of `tests/fixtures`: a data directory as this release leaves it, and its answers.
//!
//! It is run once for each release that changes what lies on disk, with the release's own binary beside it, and the
//! folder is then never made again. The server runs in the past (Debian's `libfaketime`): a group's clock never goes
//! back, so on a machine whose clock is behind the data's no request would be taken.
//!
//! ```sh
//! cargo build -p securanet && cargo run -p securanet-tests --bin fixture -- tests/fixtures/release-N \
//!     /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1
//! ```

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail, ensure};
use securanet_tests::{
    dialogue::Dialogue,
    random::Random,
    release::{Left, ask},
    server::{Options, Server, address, must},
};

const USAGE: &str = "fixture FOLDER LIBFAKETIME";
const WHEN: &str = "@2025-01-01 12:00:00";
/// RocksDB's diary names this machine's folders; the others are made at each start.
const LEFT_OUT: [&str; 5] = ["LOG", "LOG.old*", "LOCK", "admin-token", "addresses.json"];

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, faketime] = words.as_slice() else { bail!(USAGE) };
    let folder = Path::new(folder);
    ensure!(Path::new(faketime).is_file(), "{faketime} is not there: apt-get install libfaketime");
    ensure!(!folder.exists(), "{} is there: a release's folder is made once", folder.display());
    let preload = format!("LD_PRELOAD={faketime}");
    let wrapper = ["env", "TZ=UTC", "FAKETIME_DONT_FAKE_MONOTONIC=1", &format!("FAKETIME={WHEN}"), &preload];
    let options = Options { wrapper: wrapper.map(str::to_owned).into(), ..Options::default() };
    let mut server = Server::start_with(options, &["ann", "bob", "cid", "dan"])?;

    let device_password = directory(&server)?;
    mail(&server)?;
    // What is flushed lies in tables, what comes behind it in the log only.
    server.terminate()?;
    server.restart()?;
    later(&server)?;
    server.kill();

    fs::create_dir_all(folder)?;
    pack(server.folder(), &folder.join("data.tar.gz"))?;
    server.restart()?;
    let mut said = ask(&server, "ann", &QUESTIONS)?;
    said.extend(ask(&server, "ann", &["EXAMINE \"Work/Über\"", ALL, "STATUS \"Work/Über\" (MESSAGES)"])?);
    said.extend(ask(&server, "bob", &QUESTIONS)?);
    Left::write(folder, &device_password, &said)
}

const ALL: &str = "UID FETCH 1:* (FLAGS INTERNALDATE SAVEDATE RFC822.SIZE MODSEQ EMAILID THREADID ENVELOPE \
                   BODYSTRUCTURE PREVIEW BODY.PEEK[])";
const QUESTIONS: [&str; 6] = [
    "LIST (SUBSCRIBED) \"\" * RETURN (SPECIAL-USE)",
    "LIST \"\" * RETURN (SUBSCRIBED STATUS (MESSAGES UNSEEN DELETED SIZE UIDNEXT UIDVALIDITY HIGHESTMODSEQ MAILBOXID))",
    "GETQUOTAROOT INBOX",
    "UIDL",
    "EXAMINE INBOX",
    ALL,
];

fn directory(server: &Server) -> anyhow::Result<String> {
    let [ann, bob, cid, dan] = ["ann", "bob", "cid", "dan"].map(address);
    server.cli(&["alias", "add", &address("sales"), &ann], "")?;
    server.cli(&["group", "set", &address("team"), &ann, &bob, &address("sales"), "--owner", &bob], "")?;
    server.cli(&["domain", "add", "bücher.example"], "")?;
    server.cli(&["alias", "add", "info@bücher.example", &bob], "")?;
    server.cli(&["domain", "set", "bücher.example", "--catch-all", &ann], "")?;
    server.cli(&["account", "quota", &bob, "--quota-bytes", "10M"], "")?;
    server.cli(&["account", "suspend", &cid], "")?;
    server.cli(&["account", "remove", &dan, "--yes"], "")?;
    server.cli(&["policy", "set", "smtp.over_quota_reply", "552"], "")?;
    let told = server.cli(&["password", "app-add", &ann, "phone"], "")?;
    told.split_whitespace().last().map(str::to_owned).context(told.clone())
}

fn mail(server: &Server) -> anyhow::Result<()> {
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO")?;
    let mut deliver = |to: &str, message: &str| {
        smtp.expect("MAIL FROM:<s@remote.example>", "250")?;
        smtp.expect(&format!("RCPT TO:<{to}>"), "250")?;
        smtp.expect("DATA", "354")?;
        let reply = smtp.send_data(message.as_bytes())?;
        ensure!(reply.starts_with("250"), "{reply}");
        anyhow::Ok(())
    };
    let answer = plain("answer").replace("\r\n\r\n", "\r\nIn-Reply-To: <plain@remote.example>\r\n\r\n");
    for message in [plain("plain"), answer, attached(), forwarded(), broken()] {
        deliver(&address("ann"), &message)?;
        deliver(&address("bob"), &message)?;
    }
    deliver(&address("team"), &plain("to the team"))?;
    let mut imap = Dialogue::imap(server.address("imap"), "ann")?;
    imap.imap_ok("ENABLE UTF8=ACCEPT")?;
    imap.imap_ok("CREATE \"Work/Über\"")?;
    imap.imap_ok("SUBSCRIBE \"Work/Über\"")?;
    imap.imap_ok("CREATE Gone")?;
    imap.imap_ok("SUBSCRIBE Gone")?;
    imap.imap_ok("DELETE Gone")?;
    deliver(&address("ann+work"), &plain("by its tag"))?;
    imap.imap_ok("SELECT INBOX")?;
    imap.imap_ok("STORE 1 +FLAGS (\\Seen \\Answered $Forwarded Eigenes)")?;
    imap.imap_ok("STORE 2 +FLAGS (\\Flagged)")?;
    imap.imap_ok("COPY 1,3 \"Work/Über\"")?;
    imap.imap_ok("MOVE 2 Archive")?;
    Ok(())
}

fn later(server: &Server) -> anyhow::Result<()> {
    let mut imap = Dialogue::imap(server.address("imap"), "ann")?;
    imap.imap_ok("SELECT INBOX")?;
    imap.imap_ok("STORE 4 +FLAGS (\\Deleted)")?;
    imap.imap_ok("EXPUNGE")?;
    imap.imap_ok("STORE 2 +FLAGS.SILENT (Later)")?;
    let reply = imap.append("Drafts", plain("appended").as_bytes())?;
    ensure!(reply.starts_with("OK"), "{reply}");
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO")?;
    let reply = smtp.deliver("s@remote.example", &["bob"], &plain("in the log only"))?;
    ensure!(reply.starts_with("250"), "{reply}");
    Ok(())
}

fn plain(subject: &str) -> String {
    let id = subject.replace(' ', "-");
    format!(
        "From: Jürgen <s@remote.example>\r\nTo: team@test.example\r\nSubject: {subject}\r\n\
         Date: Wed, 1 Jan 2025 10:00:00 +0100\r\nMessage-ID: <{id}@remote.example>\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße: {subject}\r\n"
    )
}

/// With a part that is stored decoded, as a blob of its own.
fn attached() -> String {
    let mut random = Random::new(1);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut line = || (0..76).map(|_| char::from(alphabet[random.below(64)])).collect::<String>() + "\r\n";
    let lines: String = (0..400).map(|_| line()).collect();
    format!(
        "Subject: attached\r\nMessage-ID: <attached@remote.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>see <b>below</b>\r\n\
         --b\r\nContent-Type: application/octet-stream; name=\"a b\"\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"a b\"\r\n\r\n{lines}--b--\r\n"
    )
}

fn forwarded() -> String {
    let inner = plain("inside").replace("8bit", "8bit\r\nX-Inner: yes");
    format!(
        "Subject: =?utf-8?q?weiterg=C3=A9leitet?=\r\nMessage-ID: <forwarded@remote.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/digest; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\n{inner}--b--\r\nepilogue\r\n"
    )
}

/// Not ended, with a header line that is none, and base64 that is none.
fn broken() -> String {
    "Subject: broken\r\nno field\r\nMessage-ID: <broken@remote.example>\r\nContent-Type: multipart/mixed; boundary=\"b\r\n\
     \r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\nnot base64!\r\n"
        .to_owned()
}

fn pack(folder: &Path, archive: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-I", "gzip -9n"]);
    tar.args(LEFT_OUT.map(|name| format!("--exclude={name}")));
    tar.arg("-cf").arg(archive).arg("-C").arg(folder).arg("data");
    must(tar, "").map(drop)
}

//! The command line, as clap sees it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A clustered mail platform: SMTP, IMAP and POP3 in front of a replicated store.
#[derive(Debug, Parser)]
#[command(name = "securanet", version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the running node's admin API is.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The node's file: gives the admin address and the token.
    #[arg(long, short, global = true, env = "SECURANET_CONFIG", default_value = "node.toml")]
    pub(crate) config: PathBuf,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the node until it is told to stop.
    Run(Run),
    /// Write an annotated node file for this machine into a folder.
    Init(Init),
    /// Read the node file and say what is wrong with it.
    CheckConfig(Target),
    /// Run a complete server on loopback with a demo domain and two accounts.
    Demo(Demo),
    /// Make this store the first node of a new cluster, before it runs.
    Found(Target),
    /// Let this node come into a cluster with a token of `securanet node token`, before it runs.
    Join {
        /// The token. It is a secret, and lets one node in.
        #[arg(long, env = "SECURANET_JOIN_TOKEN", hide_env_values = true)]
        token: String,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// The nodes of the cluster.
    Node {
        /// What with them.
        #[command(subcommand)]
        action: Node,
        /// The node that is asked.
        #[command(flatten)]
        target: Target,
    },
    /// Domains.
    Domain {
        /// What with them.
        #[command(subcommand)]
        action: Domain,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Keys that sign a domain's mail.
    Dkim {
        /// What with them.
        #[command(subcommand)]
        action: Dkim,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Reports about TLS to other domains.
    TlsReport {
        /// What with them.
        #[command(subcommand)]
        action: TlsReport,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Accounts.
    Account {
        /// What with them.
        #[command(subcommand)]
        action: Account,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Other addresses of an account or a group.
    Alias {
        /// What with them.
        #[command(subcommand)]
        action: Alias,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Where accounts' mail is sent on to.
    Forward {
        /// What with it.
        #[command(subcommand)]
        action: Forward,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Distribution lists; and `group recover`, for a cluster that has lost a majority of its stores.
    Group {
        /// What with them.
        #[command(subcommand)]
        action: Group,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// What accounts may send as besides their own addresses.
    Grant {
        /// What with them.
        #[command(subcommand)]
        action: Grant,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Devices that may submit mail without logging in.
    Relay {
        /// What with them.
        #[command(subcommand)]
        action: Relay,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Passwords and device passwords.
    Password {
        /// What with them.
        #[command(subcommand)]
        action: Password,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Mailboxes of an account.
    Mailbox {
        /// What with them.
        #[command(subcommand)]
        action: Mailbox,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Policies: what can be set, and setting it.
    Policy {
        /// What with them.
        #[command(subcommand)]
        action: Policy,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Held recipients: acknowledged mail that no account took.
    Held {
        /// What with them.
        #[command(subcommand)]
        action: Held,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Mail on its way out.
    Queue {
        /// What with it.
        #[command(subcommand)]
        action: Queue,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Show the life of a message that left or is to leave: each recipient and each attempt. With `--to`: where it is
    /// in mailboxes here, and how it came.
    Trace {
        /// Its Message-ID, with or without angle brackets, or its id in the logs, which reports name.
        message_id: String,
        /// Look in the mailboxes that this address leads to, instead of in the queue.
        #[arg(long)]
        to: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Show how the node is; what is wrong comes first.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Verify every stored part and every reference, and report. Changes nothing.
    Scrub(Target),
    /// Show what the replicas of this store hold, as digests to compare with those of other stores. The node must not run;
    /// changes nothing.
    Digest {
        /// As JSON, with a digest for each table.
        #[arg(long)]
        json: bool,
        /// The node.
        #[command(flatten)]
        target: Target,
    },
    /// Import a Maildir (with its subfolders) or an mbox file into an account. May be repeated after a break.
    Import(Import),
    /// Export an account into a Maildir.
    Export(Export),
}

/// What with the cluster's nodes.
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List them.
    List,
    /// Make a token that lets one new node in.
    Token {
        /// How long it can be used.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=168))]
        hours: u64,
    },
    /// Make a token that lets a node in again under its old name, after it has lost its disk.
    Replace {
        /// Which.
        name: String,
        /// How long the token can be used.
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=168))]
        hours: u64,
    },
    /// Let a node give its work away: others lead its groups and take over its votes. It serves its clients on.
    Drain {
        /// Which.
        name: String,
    },
    /// Let a node that drains do its work again.
    Resume {
        /// Which.
        name: String,
    },
    /// Let a node lead a group. Ask the node that leads it; after half a minute leadership goes back to its home site.
    Lead {
        /// Who is to lead.
        name: String,
        /// Which group, by its number.
        group: u32,
    },
    /// Take a node out of the cluster: it is let in no more. Drain a store before, if it lives.
    Remove {
        /// Which.
        name: String,
        /// Although it still has votes.
        #[arg(long)]
        force: bool,
    },
}

/// What `run` needs.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The node.
    #[command(flatten)]
    pub(crate) target: Target,
    /// Send all mail for others to this host, as `ip:port`, instead of into the world; for trials.
    #[arg(long)]
    pub(crate) sink: Option<std::net::SocketAddr>,
}

/// What `init` needs.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder for the node file and the certificate.
    pub(crate) directory: PathBuf,
    /// The name that the node has in the world.
    #[arg(long)]
    pub(crate) hostname: String,
    /// Where the store keeps everything; a relative path starts at the node file's folder.
    #[arg(long, default_value = crate::init::DATA_DIRECTORY)]
    pub(crate) data_directory: String,
}

/// What `demo` needs.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Where to keep its data.
    #[arg(long)]
    pub(crate) directory: PathBuf,
    /// Send mail into the world. Without this, what leaves goes to port 2526 of this machine, where nobody listens
    /// unless you do.
    #[arg(long)]
    pub(crate) send: bool,
}

/// Limits of an account or a domain.
#[derive(Clone, Debug, Args)]
pub(crate) struct QuotaArgs {
    /// Octets, with K, M or G: 5G.
    #[arg(long, value_parser = parse_size)]
    pub(crate) quota_bytes: Option<u64>,
    /// Messages.
    #[arg(long)]
    pub(crate) quota_messages: Option<u64>,
}

fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.chars().last() {
        Some('K' | 'k') => (&text[..text.len() - 1], 1 << 10),
        Some('M' | 'm') => (&text[..text.len() - 1], 1 << 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is no size: write 500M or 5G"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))
}

/// With domains.
#[derive(Debug, Subcommand)]
pub(crate) enum Domain {
    /// Add one.
    Add {
        /// Its name.
        name: String,
    },
    /// List them.
    List,
    /// Set its catch-all or quota.
    Set {
        /// Its name.
        name: String,
        /// Who gets mail for unknown local parts; an empty text removes it.
        #[arg(long)]
        catch_all: Option<String>,
        /// Its limits.
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// Remove an empty one.
    Remove {
        /// Its name.
        name: String,
    },
}

/// With reports about TLS (RFC 8460).
#[derive(Debug, Subcommand)]
pub(crate) enum TlsReport {
    /// List the domains that a day has reports to; a day is kept for a week.
    List {
        /// The day, UTC: 2026-11-22.
        #[arg(long)]
        day: String,
    },
    /// Send a day's reports within a minute, whether they were sent before or not.
    Send {
        /// The day, UTC: 2026-11-22.
        #[arg(long)]
        day: String,
        /// To this domain alone.
        #[arg(long)]
        domain: Option<String>,
    },
}

/// With keys that sign.
#[derive(Debug, Subcommand)]
pub(crate) enum Dkim {
    /// Make keys, RSA and Ed25519, and print the DNS records to publish before they sign.
    Add {
        /// Whose mail.
        domain: String,
        /// Only this one.
        #[arg(long, value_enum)]
        algorithm: Option<DkimAlgorithm>,
        /// Its name in the DNS; without one it is the day's date behind r or e.
        #[arg(long, requires = "algorithm")]
        selector: Option<String>,
    },
    /// List them with their DNS records.
    List {
        /// Whose.
        domain: String,
    },
    /// Let a key sign, in place of the one of the same algorithm; without a selector each that waits.
    Activate {
        /// Whose mail.
        domain: String,
        /// Which.
        selector: Option<String>,
    },
    /// Let a key sign no more.
    Retire {
        /// Whose mail.
        domain: String,
        /// Which.
        selector: String,
    },
    /// Remove a key that does not sign.
    Remove {
        /// Whose.
        domain: String,
        /// Which.
        selector: String,
    },
}

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DkimAlgorithm {
    /// RSA with 2,048 bits.
    Rsa,
    /// Ed25519.
    Ed25519,
}

/// With accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Add one. The password is read from the terminal or from standard input.
    Add {
        /// Its main address.
        address: String,
        /// Its owner's name.
        #[arg(long, default_value = "")]
        name: String,
        /// Make it without a password.
        #[arg(long)]
        no_password: bool,
        /// The site that it is at home in: its mail is kept by a group that is led there. Without it any site.
        #[arg(long)]
        site: Option<String>,
        /// Its limits.
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// List them.
    List {
        /// Only of this domain.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Show one with what it uses.
    Show {
        /// Its address.
        address: String,
    },
    /// Suspend it: no login, no mail in.
    Suspend {
        /// Its address.
        address: String,
    },
    /// Wake it.
    Resume {
        /// Its address.
        address: String,
    },
    /// Set its limits.
    Quota {
        /// Its address.
        address: String,
        /// Its limits; what is not given becomes unlimited.
        #[command(flatten)]
        quota: QuotaArgs,
    },
    /// Remove it with all its mail.
    Remove {
        /// Its address.
        address: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// With aliases.
#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Add one.
    Add {
        /// The address.
        address: String,
        /// Where its mail goes, ours or outside.
        target: String,
    },
    /// List them.
    List,
    /// Remove one.
    Remove {
        /// The address.
        address: String,
    },
}

/// With forwarding.
#[derive(Debug, Subcommand)]
pub(crate) enum Forward {
    /// Send an account's mail on, in place of where it was sent on to before.
    Set {
        /// The account.
        address: String,
        /// Where to, ours or outside; may be given again.
        #[arg(long, required = true)]
        to: Vec<String>,
        /// The account keeps no copy.
        #[arg(long)]
        no_copy: bool,
    },
    /// Show where an account's mail is sent on to.
    Show {
        /// The account.
        address: String,
    },
    /// List the accounts whose mail is sent on.
    List,
    /// Send an account's mail on no more.
    Remove {
        /// The account.
        address: String,
    },
}

/// With distribution lists.
#[derive(Debug, Subcommand)]
pub(crate) enum Lists {
    /// Add one, or replace its members.
    Set {
        /// Its address.
        address: String,
        /// Its members, ours or outside.
        #[arg(required = true)]
        members: Vec<String>,
        /// Who gets its bounces: an address of ours. Without one, whoever writes to it gets them.
        #[arg(long)]
        owner: Option<String>,
    },
    /// List them.
    List,
    /// Remove one.
    Remove {
        /// Its address.
        address: String,
    },
}

/// With groups of either kind.
#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// Lists.
    #[command(flatten)]
    Lists(Lists),
    /// Not a list: rebuild replication groups whose majority is gone for good from what this store has. Stop this store
    /// first; leave other stores that live running. It shows what may be lost, and asks.
    Recover(Recover),
}

/// Which groups, and whether to ask.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// Only this group, 0 for the directory; may be given several times. Default: all that need it.
    #[arg(long)]
    pub(crate) group: Vec<u32>,
    /// For scripts: the phrase that would be asked for, "give up" and the names of the nodes that do not answer.
    #[arg(long)]
    pub(crate) consent: Option<String>,
}

/// With grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Grant {
    /// Let an account send as another address.
    Add {
        /// The account.
        account: String,
        /// An address of ours; `*@domain` means each of a domain of ours.
        address: String,
        /// On its behalf: a Sender field names the account.
        #[arg(long)]
        on_behalf: bool,
    },
    /// List what an account may send as.
    List {
        /// The account.
        account: String,
    },
    /// Take one back.
    Remove {
        /// The account.
        account: String,
        /// The address.
        address: String,
        /// The one on its behalf.
        #[arg(long)]
        on_behalf: bool,
    },
}

/// With relay grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Relay {
    /// Add one, or replace what it says.
    Set {
        /// What you call it: printers.
        name: String,
        /// From where: 192.0.2.0/24. May be repeated.
        #[arg(long, required_unless_present = "certificate")]
        network: Vec<String>,
        /// From anywhere, with this TLS client certificate: its SHA-256, as `openssl x509 -in FILE -noout -fingerprint
        /// -sha256` prints it. The listener asks for one with `client_certificates = true`. May be repeated.
        #[arg(long)]
        certificate: Vec<String>,
        /// As whom: an address of ours, or `*@domain` for each of a domain. May be repeated.
        #[arg(long, required = true)]
        sender: Vec<String>,
        /// To which domain, besides ours. May be repeated.
        #[arg(long, required_unless_present = "to_anybody", conflicts_with = "to_anybody")]
        to: Vec<String>,
        /// To anybody.
        #[arg(long)]
        to_anybody: bool,
        /// Recipients in an hour, all its devices together.
        #[arg(long, default_value_t = 100)]
        recipients_per_hour: u32,
    },
    /// List them.
    List,
    /// Take one back.
    Remove {
        /// Its name.
        name: String,
    },
}

/// With passwords.
#[derive(Debug, Subcommand)]
pub(crate) enum Password {
    /// Set it; it is read from the terminal or from standard input. Open sessions end.
    Set {
        /// Whose.
        address: String,
    },
    /// Remove it: nobody can log in.
    Remove {
        /// Whose.
        address: String,
    },
    /// Make a device password and show it once.
    AppAdd {
        /// Whose.
        address: String,
        /// What the owner calls it.
        label: String,
    },
    /// List device passwords.
    AppList {
        /// Whose.
        address: String,
    },
    /// Remove a device password.
    AppRemove {
        /// Whose.
        address: String,
        /// Its number.
        id: u32,
    },
}

/// With mailboxes.
#[derive(Debug, Subcommand)]
pub(crate) enum Mailbox {
    /// List them.
    List {
        /// Whose.
        address: String,
    },
    /// Make one.
    Create {
        /// Whose.
        address: String,
        /// Its name, levels separated by `/`.
        name: String,
    },
    /// Rename one with those below it.
    Rename {
        /// Whose.
        address: String,
        /// Old name.
        from: String,
        /// New name.
        to: String,
    },
    /// Delete one with its messages.
    Delete {
        /// Whose.
        address: String,
        /// Its name.
        name: String,
    },
}

/// With policies.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// List all with what is set.
    List,
    /// Say which hold for a message, their values, and who set each.
    Explain {
        /// Its sender; `<>` for reports.
        #[arg(long)]
        sender: String,
        /// Its recipient.
        #[arg(long)]
        recipient: String,
    },
    /// Set one.
    Set {
        /// Its key.
        key: String,
        /// Its value; without one it goes back to the wider scope's.
        value: Option<String>,
        /// Only for this domain.
        #[arg(long, conflicts_with = "account")]
        domain: Option<String>,
        /// Only for this account.
        #[arg(long)]
        account: Option<String>,
    },
}

/// With held recipients.
#[derive(Debug, Subcommand)]
pub(crate) enum Held {
    /// List them: who, why, since when.
    List,
    /// Try to deliver again.
    Release {
        /// Its id, as `list` shows it.
        id: String,
        /// Another account that gets the message instead.
        #[arg(long)]
        to: Option<String>,
    },
    /// Give the message up for this recipient: it is gone.
    Discard {
        /// Its id, as `list` shows it.
        id: String,
    },
}

/// Which mail on its way out is meant. What is not given does not restrict.
#[derive(Clone, Debug, Args)]
pub(crate) struct Meant {
    /// This destination: a domain, `[192.0.2.9]`, or `route:NAME`.
    #[arg(long)]
    pub(crate) destination: Option<String>,
    /// This sender; `<>` for reports.
    #[arg(long)]
    pub(crate) sender: Option<String>,
    /// This recipient.
    #[arg(long)]
    pub(crate) recipient: Option<String>,
}

/// Which mail on its way out a word is about.
#[derive(Clone, Debug, Args)]
pub(crate) struct About {
    /// One message, as `queue list` names it.
    pub(crate) id: Option<String>,
    /// Which of it, or of all.
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// Everything.
    #[arg(long)]
    pub(crate) all: bool,
}

/// With mail on its way out.
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List it, newest first.
    List {
        /// Which.
        #[command(flatten)]
        meant: Meant,
        /// With what has ended and is kept for the trace.
        #[arg(long)]
        ended: bool,
        /// At most so many messages.
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show one message with every attempt.
    Show {
        /// As `queue list` names it.
        id: String,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Stop trying until it is released.
    Hold(About),
    /// End a hold; it is tried at once.
    Release(About),
    /// Try at once; that counts as no retry.
    Retry(About),
    /// Give it up without telling the sender.
    Cancel(About),
    /// Give it up and return it to the sender.
    Fail(About),
    /// Send it another way from now on, and try at once.
    Reroute {
        /// The new destination: a domain, or `route:NAME`.
        #[arg(long)]
        to: String,
        /// Which.
        #[command(flatten)]
        about: About,
    },
}

/// What `import` needs.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Into whose account.
    pub(crate) address: String,
    /// A Maildir, or an mbox file.
    pub(crate) source: PathBuf,
    /// The mailbox for an mbox, or for the Maildir's own messages.
    #[arg(long, default_value = "INBOX")]
    pub(crate) mailbox: String,
    /// The node.
    #[command(flatten)]
    pub(crate) target: Target,
}

/// What `export` needs.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Whose account.
    pub(crate) address: String,
    /// The Maildir to write; what it holds already is not fetched again.
    pub(crate) destination: PathBuf,
    /// The node.
    #[command(flatten)]
    pub(crate) target: Target,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("5G"), Ok(5 << 30));
        assert_eq!(parse_size("100"), Ok(100));
        assert!(parse_size("x").is_err());
        assert!(parse_size("99999999999G").is_err());
    }
}

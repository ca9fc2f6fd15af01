//! Tells the directory what was counted, and sends the reports that are due.
//!
//! One pass a minute. A report is taken in the directory before it is sent and settled after: who dies between leaves
//! it to another, with the same id. A report by mail goes through the outbound queue, which does the rest, and alone
//! of all mail is sent whatever its destination demands of TLS; one over HTTPS is tried again for 24 hours (RFC 8460 5.4). A domain that asks for none any more gets none.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use securanet_gateway::{
    client::StoreClient,
    clock,
    connection::Shutdown,
    model::{
        Address, Command, DomainName, GroupId, Reply, ReversePath, StoreError, TenantId, UnixMillis,
        directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
        outbound::{
            Acceptance, EnvelopeOptions, Notify, Origin, Outbound, OutboundCommand, OutboundRecipient, OutboundReply,
        },
        record,
        tls_report::{TLS_COMMAND_DOMAINS_MAX, TlsCounts, TlsReport},
    },
};
use tokio::time::{sleep, timeout};

use super::{
    json::{self, Heading},
    letter::Letter,
    post::Poster,
    settings::{Names, TlsReportSettings},
    tally::Tally,
    txt::{self, Endpoint},
};
use crate::{dkim::Signer, dns::Dns, metric, route::Router, settings::SettingsError, tls::TlsClient};

/// Between two passes: what a process that dies loses of its counts.
const PASS_EVERY: Duration = Duration::from_secs(60);
/// The last pass of a node that stops.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Reports of one pass.
const REPORTS_PER_PASS: u32 = 100;
/// Reports, and questions to the DNS, at the same time.
const AT_ONCE: usize = 8;
/// Octets of one command, nearly; and domains of it at most.
const COMMAND_OCTETS: usize = 128 * 1024;
/// RFC 8460 5.4: sending is tried for so long.
const TRIED_MILLIS: u64 = 24 * 3_600_000;
/// The first pause between two tries; it doubles.
const PAUSE_SECONDS: u64 = 15 * 60;
const PAUSE_SECONDS_MAX: u64 = 4 * 3600;
/// The tenant of what we write to strangers, until there are several.
const TENANT: TenantId = TenantId::new(1);

/// Counts and reports of one process.
pub struct TlsReporter {
    client: StoreClient,
    poster: Poster,
    tally: Arc<Tally>,
    names: Names,
    signer: Signer,
    id: [u8; 16],
}

impl TlsReporter {
    /// `hostname` is this mail system's name; `dns` and `router` are those that mail leaves by; `roots` is a PEM file of
    /// the authorities whose certificates web servers may have, none: the system's.
    ///
    /// # Errors
    /// [`SettingsError`] when a name in the settings is none.
    pub fn new(
        settings: &TlsReportSettings,
        hostname: &str,
        tally: Arc<Tally>,
        client: StoreClient,
        (dns, router, roots): (Dns, &Router, Option<&Path>),
    ) -> Result<Self, SettingsError> {
        let names = settings.names(hostname)?;
        let id = uuid::Uuid::new_v4().into_bytes();
        let poster = Poster { tls: TlsClient::new(roots)?, dns, reach: router.reach() };
        let signer = Signer::new(client.clone());
        Ok(Self { client, poster, tally, names, signer, id })
    }

    /// Works until the node drains; then tells what was counted last.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.draining() => break,
                () = sleep(PASS_EVERY) => {}
            }
            tokio::select! {
                () = shutdown.draining() => break,
                () = self.pass() => {}
            }
        }
        timeout(DRAIN_PATIENCE, self.tell()).await.ok();
    }

    /// Tells what was counted and sends what is due.
    async fn pass(&self) {
        self.tell().await;
        let asked = DirectoryQuery::TlsReportsDue { now: clock::now(), rows_max: REPORTS_PER_PASS };
        let due = match self.client.ask_directory(asked).await {
            Ok(DirectoryAnswer::TlsReportsDue(due)) => due,
            other => {
                tracing::debug!(?other, "which TLS reports are due cannot be told");
                return;
            }
        };
        let sending = due.into_iter().map(|(day, domain)| async move {
            if let Err(error) = self.send(day, &domain).await {
                tracing::warn!(%domain, day, %error, "a TLS report has to wait");
            }
        });
        stream::iter(sending).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Adds what was counted for domains that ask for reports to the directory's counts.
    async fn tell(&self) {
        let asking = stream::iter(self.tally.take()).map(|counts| async move {
            // Where the DNS does not say, the day's end will.
            let wanted = self.endpoints(&counts.domain).await.is_none_or(|endpoints| !endpoints.is_empty());
            wanted.then_some(counts)
        });
        let asking: Vec<Option<TlsCounts>> = asking.buffer_unordered(AT_ONCE).collect().await;
        for counts in in_commands(asking.into_iter().flatten().collect()) {
            match self.client.directory(DirectoryCommand::CountTls(counts.clone())).await {
                Ok(DirectoryReply::Done) => {}
                // It may be counted: told again it would count twice.
                Err(StoreError::Unavailable(why)) => tracing::warn!(why, "counts of TLS sessions may be lost"),
                Ok(other) => tracing::error!(?other, "counts of TLS sessions are refused"),
                Err(error) => {
                    tracing::warn!(%error, "counts of TLS sessions wait");
                    counts.iter().for_each(|counts| self.tally.add(counts));
                }
            }
        }
    }

    /// Where a domain wants its reports; `None`: its DNS does not say.
    async fn endpoints(&self, domain: &DomainName) -> Option<Vec<(String, Endpoint)>> {
        let records = self.poster.dns.texts(&format!("_smtp._tls.{domain}")).await;
        records.ok().map(|records| txt::endpoints(&records))
    }

    async fn send(&self, day: u32, domain: &DomainName) -> Result<(), StoreError> {
        let take = DirectoryCommand::TakeTlsReport { day, domain: domain.clone(), by: self.id };
        if self.client.directory(take).await? != DirectoryReply::Done {
            return Ok(());
        }
        let query = DirectoryQuery::TlsReport { day, domain: domain.clone() };
        let DirectoryAnswer::TlsReport(Some(report)) = self.client.ask_directory(query).await? else { return Ok(()) };
        let (done, again_after) = self.send_to_all(&report).await;
        let settle = DirectoryCommand::SettleTlsReport { day, domain: domain.clone(), by: self.id, done, again_after };
        self.client.directory(settle).await.map(drop)
    }

    /// Where it has arrived, and when the rest is to be tried again.
    async fn send_to_all(&self, report: &TlsReport) -> (Vec<String>, Option<u32>) {
        let domain = &report.counts.domain;
        let mut done = report.done.clone();
        let mut is_left = false;
        match self.endpoints(domain).await {
            None => is_left = true,
            Some(endpoints) => {
                for (uri, endpoint) in endpoints.iter().filter(|(uri, _)| !report.done.contains(uri)) {
                    match self.send_to(report, endpoint).await {
                        Ok(()) => {
                            tracing::info!(%domain, day = report.counts.day, to = uri, "a TLS report was sent");
                            metric::tls_report("sent");
                            done.push(uri.clone());
                        }
                        Err(why) => {
                            tracing::warn!(%domain, day = report.counts.day, to = uri, why, "a TLS report was not sent");
                            metric::tls_report("failed");
                            is_left = true;
                        }
                    }
                }
            }
        }
        let again_after = if is_left { again_after(report.tried, clock::now()) } else { None };
        (done, again_after)
    }

    async fn send_to(&self, report: &TlsReport, endpoint: &Endpoint) -> Result<(), String> {
        let day = json::begin(report.counts.day).to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d").to_string();
        let id = format!("{day}.{}.{}", report.counts.domain, report.serial);
        let heading = Heading { organization: &self.names.organization, contact: &self.names.contact, id: &id };
        let packed = pack(&json::report(&heading, &report.counts)).map_err(|error| error.to_string())?;
        match endpoint {
            Endpoint::Https { host, port, path } => self.poster.post((host, *port, path), packed).await,
            Endpoint::Mail(to) => {
                let domain = &report.counts.domain;
                let letter = Letter {
                    from: &self.names.from,
                    to,
                    domain,
                    day: report.counts.day,
                    id: &id,
                    packed: &packed,
                    now: Timestamp::now(),
                };
                self.warn_unsigned().await;
                self.post_letter(&letter, to).await.map_err(|error| error.to_string())
            }
        }
    }

    /// RFC 8460 3: who gets a report without a signature of its author's domain is to ignore it. It is sent all the same: a
    /// smarthost may sign it.
    async fn warn_unsigned(&self) {
        let author = self.names.from.domain();
        if let Ok(false) = self.signer.signs(author).await {
            tracing::warn!(
                %author,
                "a TLS report leaves unsigned, and may be ignored: give its author's domain DKIM keys \
                 (`securanet dkim add`), or set delivery.tls_reports.from to an address of a domain that has some"
            );
        }
    }

    /// Gives a letter to the outbound queue of a group that the domain picks.
    async fn post_letter(&self, letter: &Letter<'_>, to: &Address) -> Result<(), StoreError> {
        let DirectoryAnswer::Cluster(Some(cluster)) = self.client.ask_directory(DirectoryQuery::Cluster).await? else {
            return Err(StoreError::Internal("the cluster has no facts".to_owned()));
        };
        let sum: u32 = letter.domain.as_str().bytes().map(u32::from).sum();
        let group = GroupId::new(1 + sum % cluster.shards.max(1));
        let mut sink = self.client.store().put(TENANT, Vec::new(), None).await?;
        sink.write(letter.text().as_bytes()).await?;
        let message = sink.finish().await?.message;
        let recipient = OutboundRecipient {
            address: to.clone().into(),
            destination: to.domain().as_str().to_owned(),
            notify: Notify::Never,
            original: None,
        };
        let outbound = Outbound {
            message,
            // Nobody is told of a report's own fate.
            sender: ReversePath::Null,
            recipients: vec![recipient],
            options: EnvelopeOptions { utf8: to.needs_utf8(), ..EnvelopeOptions::default() },
            origin: Origin::TlsReport,
            message_id: Some(letter.message_id()),
            trace_id: uuid::Uuid::now_v7().simple().to_string(),
            hold_until: None,
            repeat_key: None,
        };
        let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![outbound] };
        let command = Command::Outbound(OutboundCommand::Accept(Box::new(acceptance)));
        match self.client.execute(group, vec![command]).await?.replies.pop() {
            Some(Reply::Outbound(OutboundReply::Accepted { .. })) => Ok(()),
            other => Err(StoreError::Unavailable(format!("the queue did not take it: {other:?}"))),
        }
    }
}

/// When a report that was first tried then is tried again; `None`: it is given up.
fn again_after(tried: Option<UnixMillis>, now: UnixMillis) -> Option<u32> {
    let tried_for = tried.map_or(0, |tried| now.millis_since(tried));
    if tried_for >= TRIED_MILLIS {
        return None;
    }
    u32::try_from((tried_for / 1000).clamp(PAUSE_SECONDS, PAUSE_SECONDS_MAX)).ok()
}

/// Cuts counts into commands of a bearable size.
fn in_commands(counts: Vec<TlsCounts>) -> Vec<Vec<TlsCounts>> {
    let mut commands: Vec<Vec<TlsCounts>> = Vec::new();
    let mut octets = 0;
    for counts in counts {
        let more = record::encode(&counts).len();
        match commands.last_mut() {
            Some(last) if last.len() < TLS_COMMAND_DOMAINS_MAX && octets + more <= COMMAND_OCTETS => {
                octets += more;
                last.push(counts);
            }
            _ => {
                octets = more;
                commands.push(vec![counts]);
            }
        }
    }
    commands
}

fn pack(json: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(json)?;
    packer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8460_5_4_sending_is_tried_for_a_day_with_longer_and_longer_pauses() {
        let began = UnixMillis::new(1_700_000_000_000);
        let (mut now, mut pauses) = (began, Vec::new());
        while let Some(seconds) = again_after(Some(began), now) {
            pauses.push(seconds / 60);
            now = now.plus_millis(u64::from(seconds) * 1000);
        }
        assert_eq!(pauses, [15, 15, 30, 60, 120, 240, 240, 240, 240, 240]);
        assert!(now.millis_since(began) >= TRIED_MILLIS);
    }

    #[test]
    fn counts_are_told_in_commands_within_their_bounds() {
        let counts = |at: usize| TlsCounts::new(1, DomainName::parse(&format!("d{at}.example")).unwrap());
        let commands = in_commands((0..450).map(counts).collect());
        assert_eq!(commands.iter().map(Vec::len).collect::<Vec<_>>(), [200, 200, 50]);
    }
}

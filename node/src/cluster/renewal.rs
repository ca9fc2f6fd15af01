//! The certificate of this node: read again when its file changes, told of, and renewed before it ends.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rcgen::KeyPair;
use securanet_gateway::{
    connection::Shutdown,
    link::{Credentials, Expect, Link, Pings},
};
use securanet_wire::enrolment::{
    Certificate, MESSAGE_BYTES_MAX, proto::membership_client::MembershipClient, renew_to_wire, renewed_from_wire,
};
use tokio::time::timeout;

use super::{authority, join::Files, known::Known};

/// How often its expiry is told; it is a day's matter.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);
/// How often the certificate is looked at.
const LOOK: Duration = Duration::from_secs(600);
/// One is asked for when so much of its time is left: a third.
const LEFT_SECONDS: i64 = authority::NODE_DAYS * 86_400 / 3;
/// What one store gets to answer.
const ASK_PATIENCE: Duration = Duration::from_secs(20);

/// Looks after the node's certificate until the node drains.
pub(crate) async fn look_after(
    files: Files,
    credentials: Arc<Credentials>,
    link: Link,
    known: Arc<Known>,
    shutdown: Shutdown,
) {
    tokio::select! {
        () = credentials.clone().watch(shutdown.draining()) => {}
        () = tell_expiry(&credentials) => {}
        () = keep_fresh(&files, &credentials, &link, &known) => {}
    }
}

async fn tell_expiry(credentials: &Credentials) {
    loop {
        let file = credentials.certificate_file().display().to_string();
        metrics::gauge!("securanet_tls_certificate_expiry_seconds", "listener" => "cluster", "certificate" => file)
            .set(credentials.expires_unix_seconds() as f64);
        tokio::time::sleep(EXPIRY_INTERVAL).await;
    }
}

/// Renews it when it is time. What it writes is picked up by [`Credentials::watch`].
async fn keep_fresh(files: &Files, credentials: &Credentials, link: &Link, known: &Known) {
    loop {
        let left = credentials.expires_unix_seconds() - jiff::Timestamp::now().as_second();
        if left < LEFT_SECONDS {
            match renew(files, link, known).await {
                Ok(()) => tracing::info!("the node has a new certificate in its cluster"),
                Err(error) => {
                    let hours = left / 3600;
                    tracing::error!(%error, hours_left = hours, "the node's certificate is not renewed");
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Gets a certificate for the key that the node has, from the first store that gives one.
async fn renew(files: &Files, link: &Link, known: &Known) -> anyhow::Result<()> {
    let key = files.key()?;
    let mut problems = Vec::new();
    for address in known.stores() {
        match timeout(ASK_PATIENCE, ask(&address, link, &key)).await {
            Ok(Ok(certificate)) => return files.write(&certificate),
            Ok(Err(error)) => problems.push(format!("{error:#}")),
            Err(_) => problems.push(format!("{address}: no answer within {ASK_PATIENCE:?}")),
        }
    }
    bail!("{}", if problems.is_empty() { "no store is known".to_owned() } else { problems.join("; ") })
}

async fn ask(address: &str, link: &Link, key: &KeyPair) -> anyhow::Result<Certificate> {
    let peer = link.connect(address, &Expect::Anyone, Pings::WhileBusy)?;
    let mut client = MembershipClient::new(peer.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = renew_to_wire(authority::request(key, &link.identity().node)?);
    let reply = client.renew(request).await.with_context(|| address.to_owned())?;
    renewed_from_wire(reply.into_inner())?.map_err(|why| anyhow::anyhow!("{address} refuses: {why}"))
}

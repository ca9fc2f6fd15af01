//! `securanet cluster certificate`: the cluster's authority, and certificates of its nodes.
//!
//! The authority's key is made when it is first needed and stays in the data directory of the store that made it, readable
//! by its owner alone. A certificate says which node it is for, and of which cluster; see [`securanet_gateway::link`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use securanet_gateway::link::{ClusterId, Credentials, Identity, LinkFiles, NodeName};

use crate::{
    api::AdminApi,
    config::Config,
    replace::{Readers, replace},
};

/// The authority's certificate and key in the data directory.
const AUTHORITY: &str = "cluster-authority.pem";
const AUTHORITY_KEY: &str = "cluster-authority-key.pem";
/// Twenty years: a cluster that gets a new authority before is asked to trust both for a while.
const AUTHORITY_DAYS: i64 = 7300;
/// Clocks of nodes may differ by as much.
const BACKDATED_DAYS: i64 = 1;

/// Makes a node's certificate on a running store, and the authority before it.
pub(crate) async fn certificate(config_file: &Path, node: &str, days: u32, directory: &Path) -> anyhow::Result<()> {
    let node: NodeName = node.parse().context("--node")?;
    let config = Config::load(config_file)?;
    let Some(data) = &config.data_directory else {
        bail!("{}: the cluster's authority is on a store; run this there", config_file.display());
    };
    let status = AdminApi::of_node(config_file)?.get("/v1/status").await?;
    let cluster = status["cluster"].as_str().context("the node does not say which cluster it is of")?;
    let identity = Identity { node, cluster: cluster.parse().context("the node's cluster")? };
    let files = issue(data, &identity, days, directory)?;
    println!("{} of {identity}, for {days} days. In its node file:", files.certificate.display());
    println!("  [cluster]");
    for (key, file) in
        [("certificate_file", &files.certificate), ("key_file", &files.key), ("authority_file", &files.authority)]
    {
        println!("  {key} = {:?}", file.display().to_string());
    }
    println!("The key is a secret: take it to the node as one, and leave no copy here.");
    Ok(())
}

/// Writes certificate, key and the authority's certificate into a folder.
pub(crate) fn issue(data: &Path, identity: &Identity, days: u32, directory: &Path) -> anyhow::Result<LinkFiles> {
    let (authority, authority_pem) = authority(data, identity.cluster)?;
    let mut params = CertificateParams::new(vec![identity.dns_name()])?;
    params.distinguished_name.push(DnType::CommonName, identity.node.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    hold_for(&mut params, i64::from(days));
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    fs::create_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    let file = |end: &str| directory.join(format!("{}-{end}.pem", identity.node));
    let files = LinkFiles { certificate: file("certificate"), key: file("key"), authority: directory.join(AUTHORITY) };
    write(&files.key, &key.serialize_pem(), Readers::Owner)?;
    write(&files.certificate, &certificate.pem(), Readers::Everybody)?;
    write(&files.authority, &authority_pem, Readers::Everybody)?;
    // What a node would refuse is found here.
    Credentials::load(files.clone()).context("the new certificate")?;
    Ok(files)
}

/// The cluster's authority; made when there is none.
fn authority(data: &Path, cluster: ClusterId) -> anyhow::Result<(Issuer<'static, KeyPair>, String)> {
    let (certificate_file, key_file) = (data.join(AUTHORITY), data.join(AUTHORITY_KEY));
    match (certificate_file.exists(), key_file.exists()) {
        (true, true) => {}
        (true, false) => bail!(
            "{} is missing: the authority was made with it; restore it from the backup of this directory",
            key_file.display()
        ),
        // Without the certificate nothing was signed with this key yet.
        (false, _) => make_authority(&certificate_file, &key_file, cluster)?,
    }
    let read = |path: &PathBuf| fs::read_to_string(path).with_context(|| format!("{}", path.display()));
    let (pem, key) = (read(&certificate_file)?, read(&key_file)?);
    let key = KeyPair::from_pem(&key).with_context(|| format!("{}", key_file.display()))?;
    let issuer = Issuer::from_ca_cert_pem(&pem, key).with_context(|| format!("{}", certificate_file.display()))?;
    Ok((issuer, pem))
}

fn make_authority(certificate_file: &Path, key_file: &Path, cluster: ClusterId) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("SecuraNET Mail cluster {cluster}"));
    hold_for(&mut params, AUTHORITY_DAYS);
    let key = KeyPair::generate()?;
    // The key first: a certificate without its key could sign nothing any more.
    write(key_file, &key.serialize_pem(), Readers::Owner)?;
    write(certificate_file, &params.self_signed(&key)?.pem(), Readers::Everybody)
}

fn write(path: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    replace(path, text, readers).with_context(|| format!("{}", path.display()))
}

/// From yesterday on, for so many days.
fn hold_for(params: &mut CertificateParams, days: i64) {
    let day = |days: i64| {
        let day = jiff::Zoned::now().date().saturating_add(jiff::Span::new().days(days));
        rcgen::date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(-BACKDATED_DAYS), day(days));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity(node: &str) -> Identity {
        Identity { node: node.parse().expect("a name"), cluster: ClusterId::new([7; 16]) }
    }

    #[test]
    fn one_authority_vouches_for_all_nodes_and_its_key_is_its_owners_alone() {
        let data = tempfile::tempdir().expect("folder");
        let nodes = tempfile::tempdir().expect("folder");
        let one = issue(data.path(), &identity("one"), 30, nodes.path()).expect("one");
        let authority = fs::read_to_string(&one.authority).expect("authority");
        let two = issue(data.path(), &identity("two"), 30, nodes.path()).expect("two");
        assert_eq!(fs::read_to_string(&two.authority).expect("authority"), authority);
        for key in [data.path().join(AUTHORITY_KEY), one.key, two.key.clone()] {
            assert_eq!(fs::metadata(&key).expect("key").permissions().mode() & 0o777, 0o600, "{}", key.display());
        }
        let credentials = Credentials::load(two).expect("two");
        assert_eq!(*credentials.identity(), identity("two"));
        let days = (credentials.expires_unix_seconds() - jiff::Timestamp::now().as_second()) / 86_400;
        assert!((28..=30).contains(&days), "{days} days");
    }

    #[test]
    fn an_authority_without_its_key_is_not_replaced_by_another() {
        let data = tempfile::tempdir().expect("folder");
        issue(data.path(), &identity("one"), 30, data.path()).expect("one");
        let authority = fs::read_to_string(data.path().join(AUTHORITY)).expect("authority");
        fs::remove_file(data.path().join(AUTHORITY_KEY)).expect("removed");
        let error = issue(data.path(), &identity("two"), 30, data.path()).expect_err("no key").to_string();
        assert!(error.contains(AUTHORITY_KEY) && error.contains("restore it"), "{error}");
        assert_eq!(fs::read_to_string(data.path().join(AUTHORITY)).expect("authority"), authority);
    }
}

//! MTA-STS against a DNS server and a web server of our own.

mod directory;

use std::path::PathBuf;

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use securanet_gateway::model::DomainName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    dns::tests::{
        server::{Answer, Server},
        settings,
    },
    route::{Router, RouterSettings, TlsDemand},
    tls::policy::Policies,
    tls_report::Tally,
};

const POLICY: &str = "version: STSv1\nmode: enforce\nmx: *.hosts.test\nmax_age: 86400\n";

struct World {
    dns_server: Server,
    dns: Dns,
    sts: Sts,
    /// The authority of the web server's certificate, and its port.
    web: (Option<PathBuf>, u16),
    /// What the web server answers.
    answer: Arc<parking_lot::Mutex<String>>,
    asked: Arc<std::sync::atomic::AtomicUsize>,
    /// What it waits for before it answers.
    hold: Arc<parking_lot::Mutex<Option<Arc<tokio::sync::Notify>>>>,
    _roots: tempfile::NamedTempFile,
}

fn http(policy: &str) -> String {
    let length = policy.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{policy}")
}

async fn world(certificate_name: &str) -> World {
    let identity = rcgen::generate_simple_self_signed(vec![certificate_name.to_owned()]).unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), identity.cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(parking_lot::Mutex::new(http(POLICY)));
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let hold: Arc<parking_lot::Mutex<Option<Arc<tokio::sync::Notify>>>> = Arc::default();
    let (said, counted, held) = (answer.clone(), asked.clone(), hold.clone());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = [0; 4096];
            let octets = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..octets]).into_owned();
            assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\nhost: mta-sts.example.test\r\n"));
            let go = held.lock().clone();
            if let Some(go) = go {
                go.notified().await;
            }
            let answer = said.lock().clone();
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let dns_server = Server::start().await;
    dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=STSv1; id=1;\""]));
    dns_server.says("mta-sts.example.test A", Answer::records(&["A 127.0.0.1"]));
    let dns = Dns::new(&settings(&[&dns_server])).unwrap();
    let memory = Arc::new(ProcessMemory::new(10));
    let sts = Sts::with(Some(roots.path()), memory, port, Duration::from_secs(5)).unwrap();
    let web = (Some(roots.path().to_owned()), port);
    World { dns_server, dns, sts, web, answer, asked, hold, _roots: roots }
}

impl World {
    async fn policy(&self) -> Option<StsPolicy> {
        self.find(true, None).await
    }

    async fn find(&self, may_reach: bool, subject: Option<Subject>) -> Option<StsPolicy> {
        let reach: Reach = Arc::new(move |_| may_reach);
        self.sts.find(&self.dns, "example.test", &reach, subject).await
    }

    /// The policy, once all that is fetched beside the mail has come.
    async fn policy_at_last(&self) -> Option<StsPolicy> {
        self.policy().await;
        self.sts.refetches.ended().await;
        self.policy().await
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Goes on with another memory, as a process that starts has one.
    fn restart_with(&mut self, memory: Arc<dyn PolicyMemory>) {
        self.sts = Sts::with(self.web.0.as_deref(), memory, self.web.1, Duration::from_secs(5)).unwrap();
        self.forget_dns();
    }

    /// Record and web server of the policy are gone, as whoever wants plaintext would have it.
    fn suppress(&mut self) {
        self.dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=spf1 -all\""]));
        *self.answer.lock() = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned();
        self.forget_dns();
    }

    /// The same with nothing remembered of the DNS.
    fn forget_dns(&mut self) {
        self.dns = Dns::new(&settings(&[&self.dns_server])).unwrap();
    }
}

#[tokio::test]
async fn rfc_8461_3_3_a_policy_is_fetched_once_for_each_id() {
    let mut world = world("mta-sts.example.test").await;
    for _ in 0..3 {
        assert_eq!(world.policy().await, StsPolicy::parse(POLICY.as_bytes()));
    }
    assert_eq!(world.asked(), 1);
    let second = POLICY.replace("enforce", "testing");
    *world.answer.lock() = http(&second);
    world.dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=STSv1; id=2;\""]));
    world.forget_dns();
    assert_eq!(world.policy_at_last().await, StsPolicy::parse(second.as_bytes()));
    assert_eq!(world.asked(), 2);
}

#[tokio::test]
async fn rfc_8461_3_3_mail_does_not_wait_for_a_newer_policy() {
    let mut world = world("mta-sts.example.test").await;
    let first = world.policy().await;
    assert!(first.is_some());
    // From now on the policy's host takes its time.
    let (held, go) = (world.hold.clone(), Arc::new(tokio::sync::Notify::new()));
    *held.lock() = Some(go.clone());
    let second = POLICY.replace("enforce", "testing");
    *world.answer.lock() = http(&second);
    world.dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=STSv1; id=2;\""]));
    world.forget_dns();
    for _ in 0..3 {
        assert_eq!(world.policy().await, first, "the one that is known holds meanwhile");
    }
    *held.lock() = None;
    go.notify_waiters();
    go.notify_one();
    world.sts.refetches.ended().await;
    assert_eq!(world.policy().await, StsPolicy::parse(second.as_bytes()));
    assert_eq!(world.asked(), 2, "one fetch at a time");
}

#[tokio::test]
async fn rfc_8460_4_3_2_2_what_is_wrong_with_a_policy_is_counted_where_it_is_fetched() {
    use securanet_gateway::model::tls_report::{TlsPolicyKind, TlsResult};
    let gone = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned();
    let cases = [
        ("mta-sts.example.test", http(POLICY), true, None),
        ("mta-sts.example.test", gone.clone(), true, Some(TlsResult::StsPolicyFetchError)),
        ("mta-sts.example.test", http(POLICY), false, Some(TlsResult::StsPolicyFetchError)),
        ("mta-sts.example.test", http("not a policy"), true, Some(TlsResult::StsPolicyInvalid)),
        ("www.example.test", http(POLICY), true, Some(TlsResult::StsWebpkiInvalid)),
    ];
    let tally = Arc::new(Tally::default());
    let domain = DomainName::parse("example.test").unwrap();
    let subject = || Some(Subject::new(&tally, &domain, TlsPolicyKind::Sts));
    let results = || -> Vec<_> {
        let policies = tally.take().into_iter().flat_map(|counts| counts.policies);
        policies.flat_map(|policy| policy.details).map(|(failure, count)| (failure.result, count)).collect()
    };
    for (certificate, answer, may_reach, expected) in cases {
        let world = world(certificate).await;
        answer.clone_into(&mut world.answer.lock());
        for _ in 0..2 {
            world.find(may_reach, subject()).await;
        }
        let expected: Vec<_> = expected.map(|result| (result, 1)).into_iter().collect();
        assert_eq!(results(), expected, "{certificate} {answer:.40}: once, since it is not tried again at once");
    }
    // Also beside the mail.
    let mut world = world("mta-sts.example.test").await;
    world.policy().await;
    *world.answer.lock() = gone;
    world.dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=STSv1; id=2;\""]));
    world.forget_dns();
    assert!(world.find(true, subject()).await.is_some());
    world.sts.refetches.ended().await;
    assert_eq!(results(), [(TlsResult::StsPolicyFetchError, 1)]);
}

#[tokio::test]
async fn rfc_8461_5_1_a_known_policy_holds_though_its_record_or_its_server_goes() {
    let mut world = world("mta-sts.example.test").await;
    let known = world.policy().await;
    assert!(known.is_some());
    world.dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=spf1 -all\""]));
    world.forget_dns();
    assert_eq!(world.policy().await, known);
    world.dns_server.says("_mta-sts.example.test TXT", Answer::records(&["TXT \"v=STSv1; id=2;\""]));
    *world.answer.lock() = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_owned();
    world.forget_dns();
    assert_eq!(world.policy_at_last().await, known);
    world.policy_at_last().await;
    assert_eq!(world.asked(), 2, "a fetch that failed is not repeated at once");
}

#[tokio::test]
async fn rfc_8461_3_3_what_is_not_a_policy_from_the_right_host_is_none() {
    let wrong_certificate = world("www.example.test").await;
    assert_eq!(wrong_certificate.policy().await, None);
    let answers = [
        "HTTP/1.1 301 Moved\r\nLocation: https://mta-sts.example.test/other\r\nContent-Length: 0\r\n\r\n".to_owned(),
        http(POLICY).replace("text/plain", "text/html"),
        http("not a policy"),
        http(&format!("{POLICY}{}", "x: y\n".repeat(20_000))),
        "nonsense\r\n\r\n".to_owned(),
    ];
    for answer in answers {
        let world = world("mta-sts.example.test").await;
        answer.clone_into(&mut world.answer.lock());
        assert_eq!(world.policy().await, None, "{answer:.60}");
    }
    let inside = world("mta-sts.example.test").await;
    assert_eq!(inside.find(false, None).await, None);
    assert_eq!(inside.asked(), 0, "an address that may not be reached is not connected to");
}

#[tokio::test]
async fn rfc_8461_5_an_enforced_policy_names_the_hosts_and_demands_their_certificates() {
    let world = world("mta-sts.example.test").await;
    let says = |question: &str, records: &[&str]| world.dns_server.says(question, Answer::records(records));
    says("example.test MX", &["MX 10 a.hosts.test.", "MX 20 attacker.test."]);
    says("a.hosts.test A", &["A 192.0.2.1"]);
    says("attacker.test A", &["A 192.0.2.2"]);
    let allowed =
        RouterSettings { allowed_networks: vec!["127.0.0.0/8".parse().unwrap()], ..RouterSettings::default() };
    let policies = Policies::new(false).with_mta_sts(world.sts.clone());
    let router = Router::new(allowed, world.dns.clone(), policies).unwrap();
    let hops = router.route("example.test", false).await.unwrap();
    assert_eq!(hops.len(), 1);
    assert_eq!(hops[0].tls, TlsDemand::Verified(vec!["a.hosts.test".to_owned()]));
    assert_eq!(hops[0].tls_reason.as_deref(), Some("MTA-STS"));
    assert!(hops[0].clone().requiring_tls().is_some(), "the policy proves the name (RFC 8689 2)");
    let of_report = router.route_for_tls_report("example.test", false).await.unwrap();
    let of_report: Vec<_> = of_report.iter().map(|hop| (hop.name.as_str(), &hop.tls)).collect();
    let plain = &TlsDemand::Opportunistic;
    assert_eq!(of_report, [("a.hosts.test", plain), ("attacker.test", plain)], "RFC 8460 3");
    says("example.test MX", &["MX 20 attacker.test."]);
    let dns = Dns::new(&settings(&[&world.dns_server])).unwrap();
    let policies = Policies::new(false).with_mta_sts(world.sts.clone());
    let router = Router::new(RouterSettings::default(), dns, policies).unwrap();
    let failure = router.route(DomainName::parse("example.test").unwrap().as_str(), false).await.unwrap_err();
    assert_eq!(failure.outcome(), securanet_gateway::model::outbound::Outcome::TemporaryTls);
}

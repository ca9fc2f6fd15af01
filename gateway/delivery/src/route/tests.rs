//! Routes and the DNS together: a table of who is sent where.

use securanet_gateway::model::{Address, RecipientAddress, ReversePath, outbound::Schedule};

use super::*;
use crate::dns::{
    DnsSettings,
    tests::{
        server::{Answer, Server},
        settings,
        signer::Signer,
    },
};

const ROUTES: &str = r#"
self_names = ["us.test"]
[[routes]]
name = "reports"
senders = ["<>"]
hosts = ["reports.test"]
[[routes]]
name = "boss"
senders = ["boss@example.org"]
recipient_domains = ["partner.test"]
hosts = ["[192.0.2.7]:2525", "backup.test"]
tls = "encrypted"
[[routes]]
name = "branch"
senders = ["branch.example.org", ".branch.example.org"]
hosts = ["smart.test:587"]
login = { user = "we", password = "secret" }
[[routes]]
name = "inside"
recipient_domains = ["local.test", ".local.test"]
hosts = ["[127.0.0.1]"]
[[routes]]
name = "plant"
recipient_domains = ["[192.0.2.77]"]
hosts = ["smart.test"]
[[routes]]
name = "strict"
recipient_domains = ["bank.test"]
tls = "verified"
port = 26
[[routes]]
name = "late"
senders = ["late.example.org"]
hosts = ["smart.test"]
"#;

async fn router(settings_text: &str, answers: &[(&str, &[&str])]) -> (Server, Router) {
    let server = Server::start().await;
    answers.iter().for_each(|(question, records)| server.says(question, Answer::records(records)));
    let dns = Dns::new(&settings(&[&server])).unwrap();
    let router = Router::new(toml::from_str(settings_text).unwrap(), dns, Policies::default()).unwrap();
    (server, router)
}

fn sender(text: &str) -> ReversePath {
    if text == "<>" { ReversePath::Null } else { ReversePath::Address(Address::parse(text).unwrap()) }
}

fn hops(found: &[Hop]) -> Vec<String> {
    let one = |hop: &Hop| {
        let addresses: Vec<_> = hop.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", hop.name, addresses.join(" "))
    };
    found.iter().map(one).collect()
}

#[tokio::test]
async fn the_first_route_that_fits_sender_and_recipient_decides_with_what_mail_waits() {
    let (_server, router) = router(ROUTES, &[]).await;
    let cases = [
        ("<>", "ann@partner.test", "route:reports"),
        ("boss@example.org", "ann@partner.test", "route:boss"),
        ("BOSS@example.org", "ann@partner.test", "route:boss"),
        ("boss@example.org", "ann@other.test", "other.test"),
        ("clerk@example.org", "ann@partner.test", "partner.test"),
        ("x@branch.example.org", "ann@partner.test", "route:branch"),
        ("x@a.branch.example.org", "ann@local.test", "route:branch"),
        ("x@abranch.example.org", "ann@other.test", "other.test"),
        ("x@example.org", "ann@local.test", "route:inside"),
        ("x@example.org", "ann@a.b.local.test", "route:inside"),
        ("x@example.org", "ann@notlocal.test", "notlocal.test"),
        ("x@example.org", "ann@bank.test", "bank.test"),
        ("x@late.example.org", "ann@bank.test", "bank.test"),
        ("x@late.example.org", "ann@other.test", "route:late"),
        ("x@example.org", "ann@[192.0.2.9]", "[192.0.2.9]"),
        ("x@example.org", "ann@[IPv6:2001:DB8:0::9]", "[IPv6:2001:db8::9]"),
        ("x@example.org", "ann@[IPv6:::ffff:192.0.2.9]", "[192.0.2.9]"),
        ("x@example.org", "ann@[192.0.2.77]", "route:plant"),
        ("x@example.org", "ann@[IPv6:::ffff:192.0.2.77]", "route:plant"),
        ("x@late.example.org", "ann@[192.0.2.9]", "route:late"),
    ];
    for (from, to, expected) in cases {
        let destination = router.destination_of(&sender(from), &RecipientAddress::parse(to).unwrap());
        assert_eq!(destination, expected, "{from} to {to}");
    }
}

#[tokio::test]
async fn a_route_names_its_hosts_ports_login_and_tls() {
    let answers: &[(&str, &[&str])] = &[
        ("smart.test A", &["A 10.0.0.1"]),
        ("backup.test A", &["A 192.0.2.8"]),
        ("bank.test MX", &["MX 5 mx.bank.test."]),
        ("mx.bank.test A", &["A 192.0.2.9"]),
    ];
    let (_server, router) = router(ROUTES, answers).await;
    let found = router.route("route:boss", false).await.unwrap();
    assert_eq!(hops(&found), ["[192.0.2.7] 192.0.2.7:2525", "backup.test 192.0.2.8:25"]);
    assert!(found.iter().all(|hop| hop.tls == TlsDemand::Encrypted && hop.route.as_deref() == Some("boss")));
    let found = router.route("route:branch", false).await.unwrap();
    assert_eq!(hops(&found), ["smart.test 10.0.0.1:587"], "the operator's word goes for any address");
    assert_eq!(found[0].tls, TlsDemand::Verified(vec!["smart.test".to_owned()]), "no password to a stranger");
    assert_eq!(found[0].auth.as_ref().unwrap().user, "we");
    assert!(!format!("{:?}", found[0]).contains("secret"));
    // A domain that a route by recipient is for goes its way also when it waits under its own name.
    assert_eq!(hops(&router.route("local.test", false).await.unwrap()), ["[127.0.0.1] 127.0.0.1:25"]);
    let found = router.route("bank.test", false).await.unwrap();
    assert_eq!(hops(&found), ["mx.bank.test 192.0.2.9:26"]);
    assert_eq!(found[0].tls, TlsDemand::Verified(vec!["mx.bank.test".to_owned()]));
}

#[tokio::test]
async fn failures_say_what_they_mean_for_recipients() {
    let answers: &[(&str, &[&str])] = &[
        ("null.test MX", &["MX 0 ."]),
        ("ours.test MX", &["MX 10 us.test."]),
        ("us.test A", &["A 192.0.2.1"]),
        ("trap.test A", &["A 127.0.0.1"]),
    ];
    let (_server, router) = router(ROUTES, answers).await;
    let ours = Outcome::NotTried { again_after: 60 };
    let cases = [
        ("null.test", Outcome::Permanent, (5, 1, 10)),
        ("ours.test", Outcome::Permanent, (5, 4, 6)),
        ("trap.test", Outcome::TemporaryDns, (4, 4, 4)),
        ("nothing.test", Outcome::TemporaryDns, (4, 4, 4)),
        ("route:gone", ours, (4, 4, 4)),
        ("route:reports", ours, (4, 4, 4)),
        ("no domain", ours, (4, 4, 4)),
    ];
    for (destination, outcome, status) in cases {
        let failure = router.route(destination, false).await.unwrap_err();
        assert_eq!((failure.outcome(), failure.status()), (outcome, status), "{destination}: {failure}");
    }
}

#[tokio::test]
async fn rfc_7672_2_2_dane_is_demanded_where_dnssec_proves_it_and_a_bogus_host_is_left_out() {
    let server = Server::start().await;
    let (signer, anchor) = Signer::new();
    server.signs(signer);
    let good = format!("TLSA 3 1 1 {}", "0".repeat(64));
    for (question, answer) in [
        (
            "dane.test MX",
            Answer::records(&["MX 10 a.dane.test.", "MX 20 b.dane.test.", "MX 30 c.dane.test.", "MX 40 d.dane.test."]),
        ),
        ("a.dane.test A", Answer::records(&["A 192.0.2.1"])),
        ("b.dane.test A", Answer::records(&["A 192.0.2.2"])),
        ("c.dane.test A", Answer::records(&["A 192.0.2.3"])),
        ("d.dane.test A", Answer::records(&["A 192.0.2.4"])),
        ("_25._tcp.a.dane.test TLSA", Answer::records(&[&good])),
        ("_25._tcp.b.dane.test TLSA", Answer::forged(&[&good])),
        ("_25._tcp.c.dane.test TLSA", Answer::records(&[&good.replace('3', "1")])),
        ("bogus.test MX", Answer::records(&["MX 10 b.dane.test."])),
        ("unsigned.test NS", Answer::records(&["NS ns.unsigned.test."])),
        ("unsigned.test MX", Answer::records(&["MX 10 a.dane.test."])),
    ] {
        server.says(question, answer);
    }
    let trust_anchor = Some(anchor.path().to_owned());
    let dns =
        DnsSettings { dnssec: true, trust_anchor, timeout: std::time::Duration::from_secs(2), ..settings(&[&server]) };
    let dns = Dns::new(&dns).unwrap();
    let demanding = "[[routes]]\nname = \"dane\"\nrecipient_domains = [\"unsigned.test\"]\ntls = \"dane\"";
    for (text, expected_unsigned) in [("", Ok(TlsDemand::Opportunistic)), (demanding, Err(Outcome::TemporaryTls))] {
        let router = Router::new(toml::from_str(text).unwrap(), dns.clone(), Policies::new(true)).unwrap();
        let found = router.route("dane.test", false).await.unwrap();
        let names: Vec<_> = found.iter().map(|hop| hop.name.as_str()).collect();
        assert_eq!(names, ["a.dane.test", "c.dane.test", "d.dane.test"], "b is bogus");
        assert!(matches!(&found[0].tls, TlsDemand::Dane { records, .. } if records.len() == 1));
        assert_eq!(found[1].tls, TlsDemand::Encrypted, "records that nothing can be done with demand TLS all the same");
        assert_eq!(found[2].tls, TlsDemand::Opportunistic);
        let failure = router.route("bogus.test", false).await.unwrap_err();
        assert_eq!(failure.outcome(), Outcome::TemporaryTls, "{failure}");
        let unsigned = router.route("unsigned.test", false).await;
        let unsigned = unsigned.map(|hops| hops[0].tls.clone()).map_err(|failure| failure.outcome());
        assert_eq!(unsigned, expected_unsigned, "{text}");
    }
}

#[tokio::test]
async fn routes_that_cannot_work_are_refused_with_their_name_and_the_remedy() {
    let server = Server::start().await;
    let dns = Dns::new(&settings(&[&server])).unwrap();
    let cases = [
        ("name = \"a b\"\nrecipient_domains = [\"*\"]", "number 1"),
        (
            "name = \"x\"\nrecipient_domains = [\"*\"]\n[[routes]]\nname = \"x\"\nrecipient_domains = [\"a.test\"]",
            "two routes",
        ),
        ("name = \"x\"\nrecipient_domains = [\"a..b\"]", "is no domain"),
        ("name = \"x\"\nsenders = [\"a@b@\"]", "sender"),
        ("name = \"x\"\nsenders = [\"a.test\"]", "needs hosts"),
        ("name = \"x\"\nrecipient_domains = [\"[2001:db8::1]\"]", "write [192.0.2.1] or [IPv6:2001:db8::1]"),
        ("name = \"x\"\nsenders = [\"[192.0.2.1]\"]\nhosts = [\"a.test\"]", "host without a name"),
        ("name = \"x\"\nrecipient_domains = [\"*\"]\nhosts = [\"192.0.2.1\"]", "in brackets"),
        ("name = \"x\"\nrecipient_domains = [\"*\"]\nhosts = [\"[192.0.2.1]25\"]", "is no host"),
        ("name = \"x\"\nrecipient_domains = [\"*\"]\nhosts = [\"a.test:0\"]", "is no host"),
        ("name = \"x\"\nrecipient_domains = [\"*\"]\nlogin = { user = \"u\", password = \"p\" }", "set hosts"),
        ("name = \"x\"\nrecipient_domains = [\"*\"]\nimplicit_tls = true\ntls = \"never\"", "exclude"),
        ("name = \"x\"\nrecipient_domains = [\"*\"]\nhelo_name = \"a b\"", "helo_name"),
    ];
    for (text, expected) in cases {
        let settings: RouterSettings = toml::from_str(&format!("[[routes]]\n{text}")).unwrap();
        let told = Router::new(settings, dns.clone(), Policies::default()).err().unwrap().to_string();
        assert!(told.contains(expected) && told.contains("route"), "{text}: {told}");
    }
    let unknown: Result<RouterSettings, _> = toml::from_str("[[routes]]\nname = \"x\"\nreceipient_domains = []");
    assert!(unknown.unwrap_err().to_string().contains("receipient_domains"));
}

#[tokio::test]
async fn a_route_that_is_none_is_a_fault_of_ours_and_named() {
    let (_server, router) = router(ROUTES, &[]).await;
    for (destination, expected) in [
        ("route:nowhere", "no route \"nowhere\" in this node's settings"),
        ("route:strict", "no route \"strict\" in this node's settings"),
        ("[2001:db8::9]", "\"[2001:db8::9]\" is no domain, address literal or route"),
        ("not a domain", "\"not a domain\" is no domain, address literal or route"),
    ] {
        let failure = router.route(destination, false).await.unwrap_err();
        assert_eq!(failure.to_string(), expected);
        assert!(matches!(failure.outcome(), Outcome::NotTried { .. }), "{failure}");
    }
}

#[tokio::test]
async fn a_route_may_have_times_of_its_own() {
    let routes = r#"
[[routes]]
name = "patient"
recipient_domains = ["slow.test"]
queue = { retry_after = "1d,1d" }
[[routes]]
name = "boss"
senders = ["boss@example.org"]
hosts = ["smart.test"]
queue = { retry_after = "1m", warn_after = "5m" }
"#;
    let (_server, router) = router(routes, &[]).await;
    let policies = Schedule { retry_after: vec![1], no_such_domain_retry_after: vec![2], warn_after: 3 };
    let times = |destination: &str| {
        router.times(destination).map(|times| times.over(&policies)).map(|times| (times.retry_after, times.warn_after))
    };
    assert_eq!(times("slow.test"), Some((vec![86_400, 86_400], 3)), "by recipient domain");
    assert_eq!(times("route:boss"), Some((vec![60], 300)), "by sender");
    assert_eq!(times("else.test"), None);
    let dns = Dns::new(&settings(&[&Server::start().await])).unwrap();
    let wrong = routes.replace("1d,1d", "40d");
    let refused = Router::new(toml::from_str(&wrong).unwrap(), dns, Policies::default()).map(drop).unwrap_err();
    assert!(refused.to_string().contains("patient") && refused.to_string().contains("queue.retry_after"), "{refused}");
}

#[tokio::test]
async fn rfc_5321_4_1_3_a_host_without_a_name_is_one_hop_with_its_address() {
    let settings = r#"
port = 2525
self_addresses = ["192.0.2.1", "2001:db8::1"]
refused_networks = ["198.51.100.0/24"]
[[routes]]
name = "tester"
recipient_domains = ["[127.0.0.1]", "[IPv6:fd00::9]", "[192.0.2.1]"]
port = 26
tls = "encrypted"
[[routes]]
name = "proved"
recipient_domains = ["[192.0.2.50]"]
tls = "dane"
[[routes]]
name = "all"
recipient_domains = ["*"]
helo_name = "we.test"
"#;
    let (server, router) = router(settings, &[]).await;
    // No answer comes from the DNS, and none is needed.
    server.is_dead();
    let hop = |name: &str, address: &str, route: &str| Ok(format!("{name} {address} {route}"));
    let barred = |part: &'static str| Err((Outcome::Permanent, (5, 1, 2), part));
    let never = "no mail server in the world";
    let cases = [
        ("[192.0.2.9]", hop("[192.0.2.9]", "192.0.2.9:2525", "all")),
        ("[IPv6:2001:db8::9]", hop("[IPv6:2001:db8::9]", "[2001:db8::9]:2525", "all")),
        ("[ipv6:::ffff:192.0.2.9]", hop("[192.0.2.9]", "192.0.2.9:2525", "all")),
        ("[127.0.0.1]", hop("[127.0.0.1]", "127.0.0.1:26", "tester")),
        ("[IPv6:fd00::9]", hop("[IPv6:fd00::9]", "[fd00::9]:26", "tester")),
        ("[192.0.2.1]", hop("[192.0.2.1]", "192.0.2.1:26", "tester")),
        ("[127.0.0.2]", barred(never)),
        ("[0.0.0.0]", barred(never)),
        ("[169.254.169.254]", barred(never)),
        ("[224.0.0.1]", barred(never)),
        ("[IPv6:::1]", barred(never)),
        ("[IPv6:::]", barred(never)),
        ("[IPv6:fe80::1]", barred(never)),
        ("[IPv6:ff02::1]", barred(never)),
        ("[IPv6:::ffff:127.0.0.2]", barred(never)),
        ("[IPv6:64:ff9b::7f00:2]", barred(never)),
        ("[10.1.2.3]", barred("private network")),
        ("[IPv6:fd00::8]", barred("private network")),
        ("[198.51.100.7]", barred("excluded its network")),
        ("[IPv6:2001:db8::1]", Err((Outcome::Permanent, (5, 4, 6), "loops back"))),
        ("[192.0.2.50]", Err((Outcome::TemporaryTls, (4, 7, 5), "no TLSA records"))),
    ];
    for (destination, expected) in cases {
        match (router.route(destination, false).await, expected) {
            (Ok(found), Ok(expected)) => {
                assert_eq!(found.len(), 1);
                let route = found[0].route.as_deref().unwrap();
                assert_eq!(format!("{} {route}", hops(&found)[0]), expected);
                let tls = if route == "tester" { TlsDemand::Encrypted } else { TlsDemand::Opportunistic };
                assert!(found[0].tls == tls && found[0].tls_subject.is_none(), "{destination}");
            }
            (Err(failure), Err((outcome, status, part))) => {
                assert_eq!((failure.outcome(), failure.status()), (outcome, status), "{destination}: {failure}");
                assert!(failure.to_string().contains(part), "{destination}: {failure}");
            }
            (found, _) => panic!("{destination}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_literals_network_and_protocol_are_the_operators_to_decide() {
    let first = async |settings: &str, destination: &str| {
        let (_server, router) = router(settings, &[]).await;
        router.route(destination, false).await.map(|hops| hops[0].addresses[0].to_string()).map_err(|e| e.to_string())
    };
    assert_eq!(first("private_targets = true", "[10.1.2.3]").await, Ok("10.1.2.3:25".to_owned()));
    assert_eq!(first("allowed_networks = [\"127.0.0.0/8\"]", "[127.0.0.1]").await, Ok("127.0.0.1:25".to_owned()));
    let four = "families = \"ipv4\"\n[[routes]]\nname = \"x\"\nrecipient_domains = [\"[IPv6:2001:db8::9]\"]";
    let refused = first(four, "[IPv6:2001:db8::9]").await.unwrap_err();
    assert!(refused.contains("IPv6 is not used here"), "{refused}");
    assert!(first(four, "[192.0.2.9]").await.is_ok());
}

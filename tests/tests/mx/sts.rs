//! MTA-STS (RFC 8461) with a real web server: whose word decides who gets the mail, and who cannot take it back.

use securanet_tests::{
    server::make_certificate,
    world::{Authority, Web},
};

use super::*;

const WEB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

/// `dead` has a policy host where nobody is.
const ZONE: Zone<'static> = Zone {
    name: "sts",
    records: "good MX 10 mx.good\nmx.good A 192.0.2.10\n_mta-sts.good TXT \"v=STSv1; id=1\"\nmta-sts.good A 192.0.2.80\n\
              wrong MX 10 mx.wrong\nmx.wrong A 192.0.2.11\n_mta-sts.wrong TXT \"v=STSv1; id=1\"\nmta-sts.wrong A 192.0.2.80\n\
              other MX 10 mx.other\nmx.other A 192.0.2.12\n_mta-sts.other TXT \"v=STSv1; id=1\"\nmta-sts.other A 192.0.2.80\n\
              dead MX 10 mx.dead\nmx.dead A 192.0.2.12\n_mta-sts.dead TXT \"v=STSv1; id=1\"\nmta-sts.dead A 192.0.2.99\n",
    signed: Signed::No,
};

fn policy(mode: &str, mx: &str) -> String {
    format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n")
}

/// A server that trusts the authority.
fn server(authority: &Authority) -> Server {
    let roots = format!("[delivery.client]\nroots = {:?}\n", authority.root().display().to_string());
    let server = Server::start_with(config(&roots), &["ann"]).unwrap();
    hurry(&server);
    server
}

fn pair((certificate, key): &(std::path::PathBuf, std::path::PathBuf)) -> Option<(&Path, &Path)> {
    Some((certificate, key))
}

/// Submits a message that can be traced by its subject.
fn send(server: &Server, to: &str, subject: &str) {
    submit_with(server, &[to], subject, &format!("Message-ID: <{subject}@test.example>\r\n"));
}

fn trace(server: &Server, subject: &str) -> String {
    server.cli(&["trace", &format!("<{subject}@test.example>")], "").unwrap()
}

#[test]
fn an_enforced_policy_decides_who_gets_the_mail_also_when_its_host_is_gone() {
    apart("sts::an_enforced_policy_decides_who_gets_the_mail_also_when_its_host_is_gone", || {
        let _dns = Dns::start(&[ZONE]);
        let authority = Authority::new();
        let hosts = authority.vouch_for(&["mta-sts.good.sts", "mta-sts.wrong.sts", "mta-sts.other.sts"]);
        let web = Web::start(WEB, &hosts.0, &hosts.1);
        web.publish("good.sts", &policy("enforce", "*.good.sts"));
        web.publish("wrong.sts", &policy("enforce", "mx.wrong.sts"));
        web.publish("other.sts", &policy("enforce", "mail.other.sts"));
        // Trusted, and for another name.
        let named_otherwise = authority.vouch_for(&["mx.elsewhere.sts"]);
        let good = Remote::start(Kind::Postfix, POSTFIX, "good.sts", pair(&authority.vouch_for(&["mx.good.sts"])));
        let wrong = Remote::start(Kind::Exim, EXIM, "wrong.sts", pair(&named_otherwise));
        let other = Remote::start(Kind::OpenSmtpd, OPENSMTPD, "other.sts", None);
        let mut server = server(&authority);
        let refused = [("you@wrong.sts", &wrong), ("you@other.sts", &other)];

        send(&server, "you@good.sts", "first-good");
        wait("delivery under MTA-STS", &server, || (holds(&good, "first-good") == 1).then_some(()));
        let told = trace(&server, "first-good");
        assert!(told.contains("certificate verified for mx.good.sts"), "{told}");
        for (recipient, remote) in refused {
            let subject = recipient.replace("you@", "first-");
            send(&server, recipient, &subject);
            bounce_about(&server, recipient);
            assert_eq!(holds(remote, &subject), 0, "{recipient}: {}", trace(&server, &subject));
        }
        let told = trace(&server, "first-wrong.sts");
        assert!(told.contains("invalid peer certificate"), "{told}");
        assert_eq!(told.matches("invalid peer certificate").count(), 5, "temporary, four retries: {told}");
        let told = trace(&server, "first-other.sts");
        assert!(told.contains("mx.other.sts is not named by the MTA-STS policy"), "{told}");

        // Whoever wants plaintext takes the policy's host away; our process knows the policy from the directory alone.
        drop(web);
        server.restart().unwrap();
        send(&server, "you@good.sts", "second-good");
        wait("delivery after the restart", &server, || (holds(&good, "second-good") == 1).then_some(()));
        let told = trace(&server, "second-good");
        assert!(told.contains("certificate verified for mx.good.sts"), "{told}");
        send(&server, "me@wrong.sts", "second-wrong");
        bounce_about(&server, "me@wrong.sts");
        assert_eq!(holds(&wrong, "second-wrong"), 0, "still enforced");
    });
}

#[test]
fn testing_mode_and_a_policy_that_cannot_be_had_stop_no_mail() {
    apart("sts::testing_mode_and_a_policy_that_cannot_be_had_stop_no_mail", || {
        let _dns = Dns::start(&[ZONE]);
        add_address(REFUSING);
        let authority = Authority::new();
        let host = authority.vouch_for(&["mta-sts.wrong.sts"]);
        let web = Web::start(WEB, &host.0, &host.1);
        web.publish("wrong.sts", &policy("testing", "mx.wrong.sts"));
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path()).unwrap();
        let of_nobody = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        let wrong = Remote::start(Kind::Exim, EXIM, "wrong.sts", pair(&of_nobody));
        let dead = Remote::start(Kind::OpenSmtpd, OPENSMTPD, "dead.sts", None);
        let server = server(&authority);
        send(&server, "you@wrong.sts", "testing");
        wait("delivery in testing mode", &server, || (holds(&wrong, "testing") == 1).then_some(()));
        let told = trace(&server, "testing");
        assert!(told.contains("TLSv1.3"), "{told}");
        send(&server, "you@dead.sts", "dead");
        wait("delivery without a policy", &server, || (holds(&dead, "dead") == 1).then_some(()));
    });
}

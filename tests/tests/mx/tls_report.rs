//! TLS reports (RFC 8460) of a day, by mail and over HTTPS: what arrives says what happened.

use securanet_tests::world::{Authority, Web, gunzip};
use serde_json::Value;

use super::*;

const WEB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

/// Each asks for reports in its way; what `plain` has is sent to `good`.
const ZONE: Zone<'static> = Zone {
    name: "rpt",
    records: "good MX 10 mx.good\nmx.good A 192.0.2.10\n_mta-sts.good TXT \"v=STSv1; id=1\"\nmta-sts.good A 192.0.2.80\n\
              _smtp._tls.good TXT \"v=TLSRPTv1; rua=mailto:tls@good.rpt\"\n\
              wrong MX 10 mx.wrong\nmx.wrong A 192.0.2.11\n_mta-sts.wrong TXT \"v=STSv1; id=1\"\nmta-sts.wrong A 192.0.2.80\n\
              _smtp._tls.wrong TXT \"v=TLSRPTv1; rua=https://web.wrong.rpt/v1/tlsrpt\"\nweb.wrong A 192.0.2.80\n\
              plain MX 10 mx.plain\nmx.plain A 192.0.2.12\n_smtp._tls.plain TXT \"v=TLSRPTv1; rua=mailto:tls@good.rpt\"\n\
              silent MX 10 mx.good\n",
    signed: Signed::No,
};

fn policy(mode: &str, mx: &str) -> String {
    format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 86400\n")
}

fn today() -> String {
    let mut date = Command::new("date");
    date.args(["-u", "+%F"]);
    must(date, "").unwrap().trim().to_owned()
}

/// The JSON in a report by mail about a domain.
fn mailed(remote: &Remote, domain: &str) -> Option<(String, Value)> {
    let subject = format!("Subject: Report Domain: {domain}");
    let message = remote.messages().into_iter().find(|message| message.contains(&subject))?.replace("\r\n", "\n");
    let part = message.split("Content-Type: application/tlsrpt+gzip").nth(1)?;
    let packed: String = part.split_once("\n\n")?.1.lines().take_while(|line| !line.starts_with("--")).collect();
    let json = serde_json::from_slice(&gunzip(&BASE64_STANDARD.decode(packed).unwrap())).unwrap();
    Some((message, json))
}

fn reported(json: &Value) -> (&str, &Value, &Value) {
    let [policy] = json["policies"].as_array().unwrap().as_slice() else { panic!("{json}") };
    (policy["policy"]["policy-type"].as_str().unwrap(), &policy["summary"], &policy["failure-details"])
}

#[test]
fn rfc_8460_who_asks_for_it_is_told_how_a_days_tls_went() {
    apart("tls_report::rfc_8460_who_asks_for_it_is_told_how_a_days_tls_went", || {
        let _dns = Dns::start(&[ZONE]);
        let authority = Authority::new();
        let hosts = authority.vouch_for(&["mta-sts.good.rpt", "mta-sts.wrong.rpt", "web.wrong.rpt"]);
        let web = Web::start(WEB, &hosts.0, &hosts.1);
        web.publish("good.rpt", &policy("enforce", "mx.good.rpt"));
        web.publish("wrong.rpt", &policy("testing", "mx.wrong.rpt"));
        let (good, elsewhere) = (authority.vouch_for(&["mx.good.rpt"]), authority.vouch_for(&["elsewhere.rpt"]));
        let postfix = Remote::start(Kind::Postfix, POSTFIX, "good.rpt", Some((&good.0, &good.1)));
        let exim = Remote::start(Kind::Exim, EXIM, "wrong.rpt", Some((&elsewhere.0, &elsewhere.1)));
        let opensmtpd = Remote::start(Kind::OpenSmtpd, OPENSMTPD, "plain.rpt", None);
        let roots = format!(
            "[delivery.client]\nroots = {:?}\n[delivery.tls_reports]\norganization = \"The Test\"\n",
            authority.root().display().to_string()
        );
        let mut server = Server::start_with(config(&roots), &["ann"]).unwrap();
        let remotes = [("good.rpt", &postfix), ("wrong.rpt", &exim), ("plain.rpt", &opensmtpd)];
        for (domain, remote) in remotes {
            submit(&server, &[&format!("you@{domain}")], "counted");
            wait(domain, &server, || (holds(remote, "counted") == 1).then_some(()));
        }
        let day = today();
        let list = |server: &Server| server.cli(&["tls-report", "list", "--day", &day], "").unwrap();
        wait("the counts in the directory", &server, || {
            remotes.iter().all(|(domain, _)| list(&server).contains(domain)).then_some(())
        });
        assert!(!list(&server).contains("silent.rpt"), "{}", list(&server));
        // What was counted outlives the process that counted it.
        server.restart().unwrap();
        let said = server.cli(&["tls-report", "send", "--day", &day], "").unwrap();
        assert!(said.contains("3 reports"), "{said}");

        let (message, json) = wait("the report by mail", &server, || mailed(&postfix, "good.rpt"));
        for field in
            ["TLS-Report-Domain: good.rpt", "TLS-Report-Submitter: mail.test.example", "report-type=\"tlsrpt\""]
        {
            assert!(message.contains(field), "no {field} in {message}");
        }
        assert_eq!(json["organization-name"], "The Test");
        assert_eq!(json["date-range"]["start-datetime"], format!("{day}T00:00:00Z"));
        let (kind, summary, failures) = reported(&json);
        assert_eq!((kind, failures), ("sts", &Value::Null), "{json}");
        assert_eq!(summary["total-successful-session-count"], 1, "{json}");
        assert_eq!(json["policies"][0]["policy"]["mx-host"][0], "mx.good.rpt");

        let (_, json) = wait("the report about plaintext", &server, || mailed(&postfix, "plain.rpt"));
        let (kind, summary, failures) = reported(&json);
        assert_eq!(
            (kind, &failures[0]["result-type"]),
            ("no-policy-found", &"starttls-not-supported".into()),
            "{json}"
        );
        assert_eq!(summary["total-failure-session-count"], 1, "{json}");

        let json = wait("the report over HTTPS", &server, || web.posted().pop());
        let (kind, _, failures) = reported(&json);
        assert_eq!((kind, &failures[0]["result-type"]), ("sts", &"certificate-host-mismatch".into()), "{json}");
        assert_eq!(failures[0]["receiving-mx-hostname"], "mx.wrong.rpt");
        assert_eq!(failures[0]["receiving-ip"], EXIM.to_string());
        assert_eq!(failures[0]["failed-session-count"], 1);
    });
}

#[test]
fn rfc_8460_3_whose_dane_is_broken_is_told_so_by_mail_all_the_same() {
    apart("tls_report::rfc_8460_3_whose_dane_is_broken_is_told_so_by_mail_all_the_same", || {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        securanet_tests::server::make_certificate(folder.path()).unwrap();
        let records = format!(
            "good MX 10 mx.good\nmx.good A {POSTFIX}\n_25._tcp.mx.good TLSA 3 1 1 {}\n\
             _smtp._tls.good TXT \"v=TLSRPTv1; rua=mailto:tls@good.dane\"\n\
             wrong MX 10 mx.wrong\nmx.wrong A {EXIM}\n_25._tcp.mx.wrong TLSA 3 1 1 {}\n\
             _smtp._tls.wrong TXT \"v=TLSRPTv1; rua=mailto:tls@wrong.dane\"\n",
            key_hash(&certificate),
            "0".repeat(64),
        );
        let dns = Dns::start(&[Zone { name: "dane", records: &records, signed: Signed::Yes }]);
        let offered = Some((certificate.as_path(), key.as_path()));
        let good = Remote::start(Kind::Postfix, POSTFIX, "good.dane", offered);
        let wrong = Remote::start(Kind::Exim, EXIM, "wrong.dane", offered);
        let options = config("");
        let validating = format!(
            "servers = [\"192.0.2.53:53\"]\ndnssec = true\ntrust_anchor = {:?}",
            dns.anchor().display().to_string()
        );
        let config = options.config.replace("servers = [\"192.0.2.53:53\"]", &validating);
        let server = Server::start_with(Options { config, ..options }, &["ann"]).unwrap();
        for words in [["dkim", "add", "test.example"], ["dkim", "activate", "test.example"]] {
            server.cli(&words, "").unwrap();
        }
        submit(&server, &["you@good.dane"], "counted");
        submit(&server, &["you@wrong.dane"], "counted");
        wait("delivery under DANE", &server, || (holds(&good, "counted") == 1).then_some(()));
        let day = today();
        let list = |server: &Server| server.cli(&["tls-report", "list", "--day", &day], "").unwrap();
        wait("the counts in the directory", &server, || {
            ["good.dane", "wrong.dane"].iter().all(|domain| list(&server).contains(domain)).then_some(())
        });
        server.cli(&["tls-report", "send", "--day", &day], "").unwrap();

        let (_, json) = wait("the report about what went well", &server, || mailed(&good, "good.dane"));
        let (kind, summary, failures) = reported(&json);
        assert_eq!((kind, failures), ("tlsa", &Value::Null), "{json}");
        assert_eq!(summary["total-successful-session-count"], 1, "{json}");
        assert!(json["policies"][0]["policy"]["policy-string"][0].as_str().unwrap().starts_with("3 1 1 "), "{json}");

        let (message, json) = wait("the report about what went wrong", &server, || mailed(&wrong, "wrong.dane"));
        let (kind, summary, failures) = reported(&json);
        assert_eq!((kind, &failures[0]["result-type"]), ("tlsa", &"certificate-not-trusted".into()), "{json}");
        assert_eq!(summary["total-successful-session-count"], 0, "{json}");
        let reason = failures[0]["failure-reason-code"].as_str().unwrap();
        assert!(reason.contains("no TLSA record fits it"), "{json}");
        assert!(message.contains("DKIM-Signature: ") && message.contains("d=test.example;"), "{message}");
        assert!(message.contains("TLS-Required: No"), "{message}");
        assert_eq!(holds(&wrong, "counted"), 0, "nothing else goes there");
    });
}

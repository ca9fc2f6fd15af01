//! SASL exchanges from their first octet to their last.

use aws_lc_rs::{hmac, pbkdf2};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;

#[tokio::test]
async fn rfc_4616_plain_with_and_without_an_initial_response() {
    let authenticator = authenticator(&Directory::new());
    let mut exchange = authenticator.start(Mechanism::Plain, private());
    assert_eq!(done(exchange.step(b"\0ann@example.org\0sesame").await), AccountId::new(7));
    let mut exchange = authenticator.start(Mechanism::Plain, private());
    assert_eq!(challenge(exchange.step(b"").await), b"");
    assert_eq!(done(exchange.step(b"Ann@Example.org\0ann@example.org\0sesame").await), AccountId::new(7));
    assert!(matches!(refused(exchange.step(b"").await), LoginError::Malformed(_)));
}

#[tokio::test]
async fn rfc_4616_section_2_nobody_acts_as_another() {
    let authenticator = authenticator(&Directory::new());
    let mut exchange = authenticator.start(Mechanism::Plain, private());
    assert_eq!(refused(exchange.step(b"bob@example.org\0ann@example.org\0sesame").await), LoginError::Refused);
}

#[tokio::test]
async fn login_asks_for_user_and_password() {
    let authenticator = authenticator(&Directory::new());
    let mut exchange = authenticator.start(Mechanism::Login, private());
    assert_eq!(challenge(exchange.step(b"").await), b"Username:");
    assert_eq!(challenge(exchange.step(b"ann@example.org").await), b"Password:");
    assert_eq!(done(exchange.step(b"sesame").await), AccountId::new(7));
    let mut exchange = authenticator.start(Mechanism::Login, private());
    assert_eq!(challenge(exchange.step(b"ann@example.org").await), b"Password:");
    assert_eq!(refused(exchange.step(b"wrong").await), LoginError::Refused);
}

#[tokio::test]
async fn nothing_is_offered_or_begun_without_privacy() {
    let authenticator = authenticator(&Directory::new());
    let open = SaslContext { peer: PEER, tls: None, trusted: false };
    assert!(authenticator.mechanisms(&open).is_empty());
    for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256] {
        let mut exchange = authenticator.start(mechanism, open.clone());
        assert_eq!(refused(exchange.step(b"\0ann@example.org\0sesame").await), LoginError::PrivacyRequired);
    }
    use Mechanism::{Login, Plain, ScramSha256, ScramSha256Plus};
    assert_eq!(authenticator.mechanisms(&private()), [ScramSha256, Plain, Login]);
    assert_eq!(authenticator.mechanisms(&bound([1; 32])), [ScramSha256Plus, ScramSha256, Plain, Login]);
    let mut exchange = authenticator.start(ScramSha256Plus, private());
    assert!(matches!(
        refused(exchange.step(b"p=tls-exporter,,n=ann@example.org,r=abc").await),
        LoginError::Malformed(_)
    ));
}

/// The client's second message.
fn scram_final(server_first: &[u8], bare: &str, binding_input: &[u8], password: &str) -> Vec<u8> {
    let server_first = std::str::from_utf8(server_first).unwrap();
    let fields: Vec<&str> = server_first.split(',').collect();
    let salt = BASE64_STANDARD.decode(&fields[1][2..]).unwrap();
    let mut salted = [0; 32];
    let rounds = fields[2][2..].parse().unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let sign = |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let client_key = sign(&salted, b"Client Key");
    let stored_key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client_key.as_ref());
    let without_proof = format!("c={},{}", BASE64_STANDARD.encode(binding_input), fields[0]);
    let signature = sign(stored_key.as_ref(), format!("{bare},{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)).into_bytes()
}

/// A whole exchange; the client sees this channel binding.
async fn scram(
    authenticator: &Arc<Authenticator>,
    context: SaslContext,
    user: &str,
    password: &str,
    exporter: Option<[u8; 32]>,
) -> Result<AccountId, LoginError> {
    let (mechanism, header) = match exporter {
        Some(_) => (Mechanism::ScramSha256Plus, "p=tls-exporter,,"),
        None => (Mechanism::ScramSha256, "n,,"),
    };
    let bare = format!("n={user},r=fyko");
    let mut exchange = authenticator.start(mechanism, context);
    let server_first = challenge(exchange.step(format!("{header}{bare}").as_bytes()).await);
    let bound = exporter.map(|exporter| exporter.to_vec()).unwrap_or_default();
    let last = scram_final(&server_first, &bare, &[header.as_bytes(), &bound].concat(), password);
    match exchange.step(&last).await? {
        SaslStep::Challenge(proof) => assert!(proof.starts_with(b"v="), "the server proves itself"),
        SaslStep::Done(_) => panic!("the server has not proved itself"),
    }
    Ok(done(exchange.step(b"").await))
}

#[tokio::test]
async fn rfc_7677_scram_logs_in_without_argon2() {
    let authenticator = authenticator(&Directory::new());
    let ann = "ann@example.org";
    assert_eq!(scram(&authenticator, private(), ann, "sesame", None).await, Ok(AccountId::new(7)));
    assert_eq!(scram(&authenticator, private(), ann, "wrong", None).await, Err(LoginError::Refused));
    assert_eq!(authenticator.hasher().runs(), 0);
}

#[tokio::test]
async fn rfc_9266_scram_plus_is_bound_to_its_connection() {
    let authenticator = authenticator(&Directory::new());
    let (ann, seen) = ("ann@example.org", Some([1; 32]));
    assert_eq!(scram(&authenticator, bound([1; 32]), ann, "sesame", seen).await, Ok(AccountId::new(7)));
    assert_eq!(scram(&authenticator, bound([2; 32]), ann, "sesame", seen).await, Err(LoginError::Refused));
}

/// Salt and iterations that a name is shown.
async fn salt(authenticator: &Arc<Authenticator>, user: &str) -> String {
    let mut exchange = authenticator.start(Mechanism::ScramSha256, private());
    let server_first = challenge(exchange.step(format!("n,,n={user},r=x").as_bytes()).await);
    String::from_utf8(server_first).unwrap().split_once(",s=").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_name_with_and_without_its_domain_has_one_salt_whether_or_not_it_is_somebodys() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    for user in ["ann", "nobody"] {
        let short = salt(&authenticator, user).await;
        assert_eq!(short, salt(&authenticator, &format!("{user}@example.org")).await, "{user}");
        assert_eq!(short, salt(&authenticator, &user.to_uppercase()).await, "{user}");
    }
    assert_eq!(scram(&authenticator, private(), "ann", "sesame", None).await, Ok(AccountId::new(7)));
}

#[tokio::test]
async fn an_alias_logs_in_and_shows_a_salt_as_stable_and_as_long_as_nobodys() {
    let directory = Directory::new();
    directory.by_name.lock().insert("info@example.org".to_owned(), ann());
    let (one, other) = (authenticator(&directory), authenticator(&directory));
    let alias = salt(&one, "info@example.org").await;
    assert_eq!(alias, salt(&one, "Info@EXAMPLE.org").await);
    assert_eq!(alias, salt(&other, "info").await, "on another gateway and without its domain too");
    let nobody = salt(&one, "nobody@example.org").await;
    let shape = |salt: &str| (salt.len(), salt.split_once(",i=").map(|(_, iterations)| iterations.to_owned()));
    assert_eq!(shape(&alias), shape(&nobody));
    assert_eq!(scram(&one, private(), "info@example.org", "sesame", None).await, Ok(AccountId::new(7)));
}

#[tokio::test]
async fn scram_answers_for_unknown_users_with_a_stable_salt() {
    let directory = Directory::new();
    let (one, other) = (authenticator(&directory), authenticator(&directory));
    let nobody = salt(&one, "nobody@example.org").await;
    assert_eq!(nobody, salt(&one, "Nobody@EXAMPLE.org").await);
    assert_eq!(nobody, salt(&other, "nobody@example.org").await, "on another gateway too");
    assert_ne!(nobody, salt(&one, "somebody@example.org").await);
    let real = salt(&one, "ann@example.org").await;
    assert_eq!(
        (real.len(), &real[real.len() - 8..]),
        (nobody.len(), &nobody[nobody.len() - 8..]),
        "salt and iterations"
    );
    assert_eq!(scram(&one, private(), "nobody@example.org", "x", None).await, Err(LoginError::Refused));
}

#[tokio::test]
async fn a_domain_without_scram_does_not_use_the_verifiers_that_exist() {
    let directory = Directory::new();
    let without = Directory {
        by_name: Mutex::new(directory.by_name.lock().clone()),
        changes: watch::Sender::new(1),
        behind: Mutex::default(),
        asked: AtomicUsize::new(0),
        scram_allowed: false,
        app_passwords_allowed: AtomicBool::new(true),
    };
    let authenticator = authenticator(&Arc::new(without));
    let outcome = scram(&authenticator, private(), "ann@example.org", "sesame", None).await;
    assert_eq!(outcome, Err(LoginError::Refused));
}

#[tokio::test(start_paused = true)]
async fn scram_failures_slow_down_like_others() {
    let authenticator = authenticator(&Directory::new());
    for _ in 0..6 {
        let outcome = scram(&authenticator, private(), "ann@example.org", "wrong", None).await;
        assert_eq!(outcome, Err(LoginError::Refused));
    }
    let began = Instant::now();
    assert!(scram(&authenticator, private(), "ann@example.org", "sesame", None).await.is_ok());
    assert_eq!(began.elapsed().as_secs(), 1, "six failures");
}

#[tokio::test(start_paused = true)]
async fn a_change_between_lookup_and_login_is_not_missed() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let mut exchange = authenticator.start(Mechanism::ScramSha256, private());
    let server_first = challenge(exchange.step(b"n,,n=ann@example.org,r=abc").await);
    directory.change(|ann| ann.account.credential_version = 2);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let last = scram_final(&server_first, "n=ann@example.org,r=abc", b"n,,", "sesame");
    challenge(exchange.step(&last).await);
    let Ok(SaslStep::Done(login)) = exchange.step(b"").await else { panic!("the proof was right") };
    tokio::time::timeout(Duration::from_secs(1), login.ended()).await.unwrap();
}

//! Passwords: what a login costs, what it says, when it ends.

use super::*;

#[tokio::test]
async fn a_right_password_opens_a_login_and_a_wrong_one_is_refused() {
    let authenticator = authenticator(&Directory::new());
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Ok(AccountId::new(7)));
    assert_eq!(password(&authenticator, " Ann@EXAMPLE.org", "sesame").await, Ok(AccountId::new(7)));
    for wrong in ["Sesame", "", "sesame\u{7}", "\u{1f511}"] {
        assert_eq!(password(&authenticator, "ann@example.org", wrong).await, Err(LoginError::Refused), "{wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_costs_what_a_wrong_password_costs() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let mut costs = Vec::new();
    for (user, typed) in [
        ("ann@example.org", "wrong"),
        ("nobody@example.org", "wrong"),
        ("not an address", "wrong"),
        (&"x".repeat(400), "wrong"),
        ("ann@example.org", "a bell \u{7}"),
    ] {
        let before = (authenticator.hasher().runs(), directory.asked.load(Ordering::SeqCst));
        assert_eq!(password(&authenticator, user, typed).await, Err(LoginError::Refused));
        let after = (authenticator.hasher().runs(), directory.asked.load(Ordering::SeqCst));
        costs.push((after.0 - before.0, after.1 - before.1));
    }
    assert_eq!(costs, [(1, 2); 5], "(argon2id computations, directory queries)");
}

#[tokio::test]
async fn an_account_without_a_password_costs_the_same_and_lets_nobody_in() {
    let directory = Directory::new();
    directory.change(|ann| ann.password = None);
    let authenticator = authenticator(&directory);
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Err(LoginError::Refused));
    assert_eq!(authenticator.hasher().runs(), 1);
}

#[tokio::test]
async fn ten_connections_at_once_cost_one_computation() {
    let authenticator = authenticator(&Directory::new());
    let logins = (0..10).map(|_| password(&authenticator, "ann@example.org", "sesame"));
    for outcome in futures::future::join_all(logins).await {
        assert_eq!(outcome, Ok(AccountId::new(7)));
    }
    assert_eq!(authenticator.hasher().runs(), 1);
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Ok(AccountId::new(7)));
    assert_eq!(authenticator.hasher().runs(), 1, "and the next one is answered from memory");
}

#[tokio::test]
async fn when_the_one_who_computes_goes_away_another_one_does_it() {
    let authenticator = authenticator(&Directory::new());
    {
        let first = password(&authenticator, "ann@example.org", "sesame");
        tokio::pin!(first);
        // Far enough to have begun to compute.
        while authenticator.hasher().runs() == 0 {
            assert!(futures::poll!(&mut first).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Ok(AccountId::new(7)));
}

#[tokio::test]
async fn a_wrong_password_is_never_remembered() {
    let authenticator = authenticator(&Directory::new());
    for runs in 1..=3 {
        assert_eq!(password(&authenticator, "ann@example.org", "wrong").await, Err(LoginError::Refused));
        assert_eq!(authenticator.hasher().runs(), runs);
    }
    assert!(authenticator.memory().accounts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_password_empties_the_memory_and_ends_open_sessions_within_a_second() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let login = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    assert_eq!(authenticator.memory().accounts(), [AccountId::new(7)]);
    assert!(tokio::time::timeout(Duration::from_millis(200), login.ended()).await.is_err());
    directory.change(|ann| {
        ann.password = Some(make_verifiers("open", false).unwrap());
        ann.account.credential_version = 2;
    });
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Err(LoginError::Refused));
    let began = Instant::now();
    login.ended().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(authenticator.memory().accounts().is_empty());
    let again = authenticator.password("ann@example.org", b"open", PEER).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), again.ended()).await.is_err(), "the new login goes on");
}

#[tokio::test(start_paused = true)]
async fn suspension_and_deletion_end_open_sessions_and_other_changes_do_not() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let login = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    directory.change(|ann| ann.account.display_name = "Anna".to_owned());
    assert!(tokio::time::timeout(Duration::from_millis(400), login.ended()).await.is_err());
    directory.change(|ann| ann.account.status = AccountStatus::Suspended);
    tokio::time::timeout(Duration::from_secs(1), login.ended()).await.unwrap();

    directory.change(|ann| ann.account.status = AccountStatus::Active);
    let login = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    directory.by_name.lock().clear();
    directory.change(|_| ());
    tokio::time::timeout(Duration::from_secs(1), login.ended()).await.unwrap();
}

#[tokio::test]
async fn a_suspended_account_is_told_so_only_with_its_password() {
    let directory = Directory::new();
    directory.change(|ann| ann.account.status = AccountStatus::Suspended);
    let authenticator = authenticator(&directory);
    assert_eq!(password(&authenticator, "ann@example.org", "wrong").await, Err(LoginError::Refused));
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Err(LoginError::Disabled));
}

#[tokio::test]
async fn an_app_password_logs_in_and_costs_one_computation_whatever_else_there_is() {
    let directory = Directory::new();
    let apps: Vec<_> = (0..3).map(|_| make_app_password().unwrap()).collect();
    directory.change(|ann| {
        let kept = |(id, app): (usize, &NewAppPassword)| AppPassword {
            id: AppPasswordId::new(u32::try_from(id).unwrap()),
            label: "phone".to_owned(),
            created: UnixMillis::new(0),
            verifiers: app.verifiers.clone(),
        };
        ann.app_passwords = apps.iter().enumerate().map(kept).collect();
    });
    let authenticator = authenticator(&directory);
    let typed = apps[2].password.expose().to_uppercase();
    assert_eq!(password(&authenticator, "ann@example.org", &typed).await, Ok(AccountId::new(7)));
    assert_eq!(authenticator.hasher().runs(), 1);
    let strange = make_app_password().unwrap();
    for wrong in ["wrong", strange.password.expose()] {
        let before = authenticator.hasher().runs();
        assert_eq!(password(&authenticator, "ann@example.org", wrong).await, Err(LoginError::Refused));
        assert_eq!(authenticator.hasher().runs() - before, 1);
    }
    directory.change(|ann| {
        ann.app_passwords.pop();
        ann.account.credential_version += 1;
    });
    assert_eq!(password(&authenticator, "ann@example.org", &typed).await, Err(LoginError::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_policy_against_app_passwords_ends_their_logins_and_no_others() {
    let directory = Directory::new();
    let app = make_app_password().unwrap();
    directory.change(|ann| {
        let (id, label) = (AppPasswordId::new(1), "phone".to_owned());
        ann.app_passwords =
            vec![AppPassword { id, label, created: UnixMillis::new(0), verifiers: app.verifiers.clone() }];
    });
    let authenticator = authenticator(&directory);
    let typed = app.password.expose().as_bytes();
    let phone = authenticator.password("ann@example.org", typed, PEER).await.unwrap();
    let desktop = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    directory.change(|_| ());
    assert!(tokio::time::timeout(Duration::from_millis(400), phone.ended()).await.is_err(), "it is allowed still");

    // No credential changes, and so no credential version.
    directory.app_passwords_allowed.store(false, Ordering::SeqCst);
    directory.change(|_| ());
    tokio::time::timeout(Duration::from_secs(1), phone.ended()).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(400), desktop.ended()).await.is_err());
    let again = authenticator.password("ann@example.org", typed, PEER).await;
    assert_eq!(refused(again), LoginError::Refused, "that it was right a moment ago is not remembered");

    directory.app_passwords_allowed.store(true, Ordering::SeqCst);
    directory.change(|_| ());
    assert!(authenticator.password("ann@example.org", typed, PEER).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn failures_slow_down_the_next_attempts_whether_or_not_there_is_such_a_user() {
    for user in ["ann@example.org", "nobody@example.org"] {
        let authenticator = authenticator(&Directory::new());
        let mut waited = Vec::new();
        for _ in 0..8 {
            let began = Instant::now();
            assert_eq!(password(&authenticator, user, "wrong").await, Err(LoginError::Refused));
            waited.push(began.elapsed().as_millis() / 500);
        }
        assert_eq!(waited, [0, 0, 0, 0, 0, 1, 2, 4], "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_nothing_is_computed_and_who_logged_in_before_gets_in() {
    let authenticator = authenticator(&Directory::new());
    assert!(authenticator.password("ann@example.org", b"sesame", PEER).await.is_ok());
    let computed = loop {
        match authenticator.password("ann@example.org", b"wrong", ELSEWHERE).await {
            Err(LoginError::Refused) => {}
            Err(LoginError::TooManyAttempts { retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                break authenticator.hasher().runs();
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        authenticator.password("ann@example.org", b"sesame", ELSEWHERE).await,
        Err(LoginError::TooManyAttempts { .. })
    ));
    assert_eq!(authenticator.hasher().runs(), computed);
    assert!(authenticator.password("ann@example.org", b"sesame", PEER).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_password_is_right_where_its_change_is_not_known_yet() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let before = directory.by_name.lock().clone();
    directory.change(|credentials| {
        credentials.account.credential_version += 1;
        credentials.password = Some(make_verifiers("open", true).unwrap());
    });
    *directory.behind.lock() = Some(before);
    assert_eq!(password(&authenticator, "ann@example.org", "open").await, Ok(AccountId::new(7)));
    assert_eq!(password(&authenticator, "ann@example.org", "neither").await, Err(LoginError::Refused));
    // Nor is the account.
    *directory.behind.lock() = Some(HashMap::new());
    assert_eq!(password(&authenticator, "ann@example.org", "open").await, Ok(AccountId::new(7)));
}

//! Status, probes, metrics and the scrub.

use super::*;

fn report() -> ScrubReport {
    ScrubReport { blobs_verified: 3, references_verified: 4, findings: 0, first_findings: Vec::new() }
}

#[tokio::test]
async fn status_probes_and_metrics_come_from_the_node() {
    let fixture = api(FakeStore::new());
    let (status, shown) = fixture.get("/v1/status").await;
    assert_eq!((status, &shown["hostname"]), (StatusCode::OK, &json!("mx.example.org")));
    for (path, expected) in [("/healthz", "ok\n"), ("/readyz", "ready\n"), ("/metrics", "securanet_up 1\n")] {
        let (status, body) = fixture.raw(Method::GET, path, Body::empty()).await;
        assert_eq!((status, &body[..]), (StatusCode::OK, expected.as_bytes()), "{path}");
    }
    let (_, scrub) = watch::channel(None);
    let node =
        FakeNode { ready: Err("group 3 has no leader".to_owned()), scrub, scrubs_begun: Arc::default(), routes: None };
    let client = StoreClient::new(fixture.store.clone());
    let router = router(client, Arc::new(node), Token::new(SECRET).unwrap());
    let response = router.oneshot(request(Method::GET, "/readyz", Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "group 3 has no leader\n");
}

#[tokio::test]
async fn a_scrub_goes_on_whoever_listens_and_its_report_is_kept() {
    let api = api(FakeStore::new());
    assert_eq!(problem(&api.get("/v1/scrub").await).0, 404, "there was none yet");
    let (status, state) = api.json(Method::POST, "/v1/scrub?wait=false", Value::Null).await;
    assert_eq!((status, &state["ended_unix_millis"]), (StatusCode::ACCEPTED, &Value::Null));
    let waiting = api.json(Method::POST, "/v1/scrub", Value::Null);
    let ending = async {
        tokio::task::yield_now().await;
        api.scrub.send_replace(Some(Ok(report())));
    };
    let ((status, joined), ()) = tokio::join!(waiting, ending);
    assert_eq!((status, joined), (StatusCode::OK, serde_json::to_value(report()).unwrap()));
    assert_eq!(*api.scrubs_begun.lock().unwrap(), 1, "a start while one is running joins it");
    let (_, kept) = api.get("/v1/scrub").await;
    assert_eq!(kept["report"], serde_json::to_value(report()).unwrap());
    assert!(kept["ended_unix_millis"].is_u64());
    api.json(Method::POST, "/v1/scrub", Value::Null).await;
    assert_eq!(*api.scrubs_begun.lock().unwrap(), 2, "after its end another one may start");
}

#[tokio::test]
async fn a_scrub_that_fails_says_why() {
    let api = api(FakeStore::new());
    api.scrub.send_replace(Some(Err("the disk is gone".to_owned())));
    let (status, error, _) = problem(&api.json(Method::POST, "/v1/scrub", Value::Null).await);
    assert_eq!((status, error.as_str()), (500, "the disk is gone"));
    assert_eq!(api.get("/v1/scrub").await.1["failure"], "the disk is gone");
}

use super::*;

/// Made for these tests, and known to all.
const KEY: &str = include_str!("tests.pem");
/// Signed by OpenSSL with that key: RS256 gives the same for the same.
const ASSERTION: &str = include_str!("tests.jwt");

fn service_account() -> Value {
    json!({
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "key-1",
        "private_key": KEY,
        "client_email": "gateway@project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

#[test]
fn the_assertion_of_a_service_account_is_what_openssl_signs() {
    let account = Account::read(&service_account().to_string()).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let form = account.form(now).unwrap();
    let (grant, assertion) = form.split_once("&assertion=").unwrap();
    assert_eq!(
        grant,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    );
    assert_eq!(assertion, ASSERTION.trim());
    assert!(!format!("{account:?}").contains("gateway@"));
}

#[test]
fn a_person_who_logged_in_shows_a_refresh_token() {
    let file = json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "s&s", "refresh_token": "1//r",
    });
    let account = Account::read(&file.to_string()).unwrap();
    assert_eq!(account.tokens, TOKENS);
    assert_eq!(
        account.form(SystemTime::UNIX_EPOCH).unwrap(),
        "grant_type=refresh_token&client_id=c&client_secret=s%26s&refresh_token=1%2F%2Fr"
    );
}

#[test]
fn what_gives_no_token_is_refused_without_being_repeated() {
    let without = |name: &str, value: Value| {
        let mut file = service_account();
        file[name] = value;
        file.to_string()
    };
    for file in [
        "canary".to_owned(),
        "[]".to_owned(),
        json!({"type": "external_account", "audience": "canary"}).to_string(),
        without("private_key", "canary".into()),
        without("private_key", Value::Null),
        without("client_email", Value::Null),
        without("token_uri", "canary".into()),
    ] {
        let error = Account::read(&file).map(|_| ()).unwrap_err();
        assert!(!format!("{error}").contains("canary"), "{error}");
    }
}

#[test]
fn a_location_has_a_host() {
    for (location, base) in [
        ("global", "https://aiplatform.googleapis.com/v1"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com/v1"),
        (
            "us-central1",
            "https://us-central1-aiplatform.googleapis.com/v1",
        ),
    ] {
        let made = Provider::vertex("p", location, service_account().to_string()).unwrap();
        assert!(format!("{made:?}").contains(base), "{made:?}");
    }
    for (project, location) in [
        ("", "global"),
        ("p/..", "global"),
        ("p", ""),
        ("p", "evil.example/"),
        ("p", "evil.example"),
    ] {
        assert!(Provider::vertex(project, location, service_account().to_string()).is_err());
    }
}

#[test]
fn a_model_of_anthropic_stands_in_the_path_and_the_version_in_the_body() {
    let body = Bytes::from(r#"{"model":"m","stream":true,"max_tokens":1}"#);
    assert_eq!(
        edited(body.clone(), Operation::Chat),
        r#"{"anthropic_version":"vertex-2023-10-16","stream":true,"max_tokens":1}"#
    );
    assert_eq!(
        edited(body, Operation::CountTokens),
        r#"{"anthropic_version":"vertex-2023-10-16","model":"m","stream":true,"max_tokens":1}"#
    );
    let streams = ChatRequest::new().for_model("claude-haiku-4-5@20251001");
    let parent = "/projects/p/locations/global";
    let at = |request: &ChatRequest| {
        path(parent, Protocol::Anthropic, "/messages", request)
            .unwrap()
            .into_owned()
    };
    assert_eq!(
        at(&streams),
        "/projects/p/locations/global/publishers/anthropic/models/\
         claude-haiku-4-5@20251001:streamRawPredict"
    );
    assert!(at(&streams.whole()).ends_with(":rawPredict"));
}

//! What is asked for besides conversations: counts of tokens, and vectors.

use super::*;

#[tokio::test]
async fn tokens_are_counted_by_a_vendor_that_can() {
    let ask = || post(&format!("{FLASH}:countTokens"), hello(json!({})));
    let to = upstream(Reply::json(
        200,
        r#"{"totalTokens":42,"totalBillableCharacters":9}"#,
    ))
    .await;
    let mut request = ask();
    let exchange = Exchange::enter(&mut request);
    let answer = call(gemini(&to), request).await;
    assert_eq!(document(&answer)["totalTokens"], 42);
    assert_eq!(document(&answer)["totalBillableCharacters"], 9);
    assert_eq!(to.last().unwrap().path, format!("{FLASH}:countTokens"));
    // To count is to use nothing.
    assert_eq!(exchange.facts().usage, None);
    // A conversation may stand a level deeper, with a name of the model of its own.
    let deeper = json!({"generateContentRequest": hello(json!({"model": "models/other"}))});
    let answer = call(gemini(&to), post(&format!("{FLASH}:countTokens"), deeper)).await;
    assert_eq!(answer.status(), 200);
    let asked = to.last().unwrap().json();
    assert_eq!(
        asked["generateContentRequest"]["model"],
        "models/gemini-2.5-flash"
    );
    let own = call(Simulator::new(), ask()).await;
    assert!(document(&own)["totalTokens"].as_u64() > Some(0));
    // One counts for the other.
    let to = upstream(Reply::json(200, r#"{"input_tokens":17}"#)).await;
    let anthropic = Provider::anthropic(KEY).base_url(to.url()).unwrap();
    let answer = call(anthropic, ask()).await;
    assert_eq!(*answer.body(), r#"{"totalTokens":17}"#);
    assert_eq!(to.last().unwrap().path, "/v1/messages/count_tokens");
    let to = upstream(Reply::json(200, r#"{"totalTokens":7}"#)).await;
    let body =
        json!({"model": "gemini-2.5-flash", "messages": [{"role": "user", "content": "Hello"}]});
    let answer = call(gemini(&to), post("/v1/messages/count_tokens", body)).await;
    assert_eq!(*answer.body(), r#"{"input_tokens":7}"#);
}

#[tokio::test]
async fn texts_become_vectors_at_a_vendor_of_either_protocol() {
    let vendor = vendor().await;
    let one = |text: &str| json!({"model": "models/mock-embed", "content": {"parts": [{"text": text}]}, "outputDimensionality": 6});
    let floats = |values: &Value| -> Vec<f64> {
        let values = values.as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap()).collect()
    };
    let [openai, _] = others(&vendor);
    let mut all = Vec::new();
    for provider in [gemini(&vendor), openai] {
        let path = "/v1beta/models/mock-embed:embedContent";
        let mut request = post(path, one("one"));
        let exchange = Exchange::enter(&mut request);
        let answer = call(provider.clone(), request).await;
        let single = floats(&document(&answer)["embedding"]["values"]);
        assert_eq!(exchange.facts().usage.unwrap().input, 1);
        let path = "/v1beta/models/mock-embed:batchEmbedContents";
        let several = json!({"requests": [one("one"), one("two")]});
        let answer = call(provider.clone(), post(path, several)).await;
        let several = document(&answer)["embeddings"].clone();
        assert_eq!(several.as_array().unwrap().len(), 2);
        assert_eq!(floats(&several[0]["values"]), single);
        assert_ne!(floats(&several[1]["values"]), single);
        assert_eq!(single.len(), 6);
        // A client of OpenAI's gets the same, in either form.
        let body = json!({"model": "mock-embed", "input": ["one", "two"], "dimensions": 6});
        let answer = call(provider, post("/v1/embeddings", body)).await;
        let rows = document(&answer);
        assert_eq!(floats(&rows["data"][0]["embedding"]), single);
        assert_eq!(rows["usage"]["prompt_tokens"], 2);
        all.push(single);
    }
    assert_eq!(all[0], all[1]);
    // What cannot be embedded is no text.
    let image =
        json!({"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}});
    let [openai, _] = others(&vendor);
    let answer = call(
        openai,
        post("/v1beta/models/mock-embed:embedContent", image),
    )
    .await;
    assert_eq!(document(&answer)["error"]["status"], "INVALID_ARGUMENT");
}

//! The life of a prompt, from its first line to its last version. There is no code in here.
//!
//! | step | in code | over HTTP | in files |
//! |---|---|---|---|
//! | [write](#write) | [`Prompt`](super::Prompt) | `POST …/{name}/versions` | `translate.md` |
//! | [look](#look) | [`Registry::preview`](super::Registry::preview) | `POST …/preview` | |
//! | [test](#test) | [`Manage::run`](super::manage::Manage::run) | `POST …/runs` | |
//! | [compare](#compare) | [`Registry::diff`](super::Registry::diff) | `GET …/diff` | `git diff` |
//! | [release](#release) | [`Registry::move_label`](super::Registry::move_label) | `PUT …/labels/production` | `labels` |
//! | [use](#use) | [`PromptLayer`](super::PromptLayer) | `POST /prompts/{name}`, or the field `prompt` of a chat | |
//! | [try on some](#try-on-some) | [`Assignment::split`](super::Assignment::split) | `PUT …/labels/production` with shares | `labels.yaml` |
//! | [judge](#judge) | [`Registry::results`](super::Registry::results) | `GET …/results`, `POST …/scores` | |
//! | [take back](#take-back) | [`Registry::move_label`](super::Registry::move_label) | `PUT …/labels/production` | `labels` |
//!
//! `…` is where [management](super::manage) is mounted, `/admin/prompts` by default. All of it in one
//! gateway:
//!
#![cfg_attr(feature = "gateway", doc = "```")]
#![cfg_attr(not(feature = "gateway"), doc = "```ignore")]
//! use axum::{body::{Body, to_bytes}, http::Request};
//! use serde_json::{Value, json};
//! use tower::ServiceExt;
//! use tower_gateway::{auth::{ApiKeys, Grant}, gateway::Gateway, llm::Simulator};
//! use tower_gateway::prompt::{Registry, manage::Manage};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = Registry::in_memory();
//! let author = Grant::new("alice").scopes(["prompts:admin"]);
//! let owner = Grant::new("bob").scopes(["prompts:admin", "prompts:release"]);
//! let keys = ApiKeys::new()
//!     .add(author, "the-secret-key-of-alice")
//!     .add(owner, "the-secret-key-of-bob")
//!     .add("app", "the-secret-key-of-the-application");
//! let gateway = Gateway::builder()
//!     .api_keys(keys)
//!     .prompts(registry.clone())
//!     .manage_prompts(Manage::new(registry))
//!     .simulator(Simulator::new())
//!     .build()?;
//! let call = async |who: &str, method: &str, path: &str, body: Value| {
//!     let request = Request::builder()
//!         .method(method)
//!         .uri(path)
//!         .header("authorization", format!("Bearer the-secret-key-of-{who}"))
//!         .header("content-type", "application/json")
//!         .body(Body::from(body.to_string()))
//!         .unwrap();
//!     let response = gateway.clone().oneshot(request).await.unwrap();
//!     let status = response.status().as_u16();
//!     let body = to_bytes(Body::new(response.into_body()), 1 << 20).await.unwrap();
//!     (status, serde_json::from_slice::<Value>(&body).unwrap_or_default())
//! };
//!
//! // Write.
//! let says = |text: &str| json!({"prompt": {
//!     "model": "sim-chat",
//!     "messages": [{"role": "system", "content": text}, {"role": "user", "content": "{{ text }}"}],
//!     "variables": {"text": {"type": "string"}, "language": {"type": "string", "default": "French"}},
//! }});
//! let first = says("Translate into {{ language }}.");
//! let (status, told) = call("alice", "POST", "/admin/prompts/translate/versions", first).await;
//! assert_eq!((status, &told["version"]), (201, &json!(1)));
//!
//! // Look.
//! let variables = json!({"version": 1, "variables": {"text": "Good morning"}});
//! let (_, told) = call("alice", "POST", "/admin/prompts/translate/preview", variables).await;
//! assert_eq!(told["messages"][0]["content"], "Translate into French.");
//!
//! // Release: whoever writes need not be who releases.
//! let path = "/admin/prompts/translate/labels/production";
//! assert_eq!(call("alice", "PUT", path, json!({"to": 1})).await.0, 403);
//! assert_eq!(call("bob", "PUT", path, json!({"to": 1, "message": "the first"})).await.0, 200);
//!
//! // Use.
//! let (_, told) = call("the-application", "POST", "/prompts/translate", json!({"text": "Good morning"})).await;
//! assert_eq!(told["version"], 1);
//! let chat = json!({"prompt": {"name": "translate", "variables": {"text": "Good morning"}}});
//! let (status, _) = call("the-application", "POST", "/v1/chat/completions", chat).await;
//! assert_eq!(status, 200);
//!
//! // Test and compare the next one.
//! let second = says("Translate into {{ language }}, word by word.");
//! call("alice", "POST", "/admin/prompts/translate/versions", second).await;
//! let (_, told) = call("alice", "GET", "/admin/prompts/translate/diff?from=1&to=2", json!({})).await;
//! assert!(told["diff"].as_str().unwrap().contains("+messages.0.content: Translate into {{ language }}, word by word."));
//! let cases = json!([{"variables": {"text": "Good morning"}, "expect": {"contains": "Good morning"}}]);
//! let run = json!({"versions": [1, 2], "cases": cases});
//! let (_, told) = call("alice", "POST", "/admin/prompts/translate/runs", run).await;
//! assert_eq!(told["versions"][1]["passed"], 1);
//!
//! // Try on some, judge, and take back: as it was, if nobody has moved it meanwhile.
//! let shares = json!([{"version": 1, "weight": 9500}, {"version": 2, "weight": 500}]);
//! assert_eq!(call("bob", "PUT", path, json!({"to": shares, "from": 1})).await.0, 200);
//! let (_, told) = call("alice", "GET", "/admin/prompts/translate/results", json!({})).await;
//! assert_eq!(told["versions"][0]["calls"], 2);
//! assert_eq!(call("bob", "PUT", path, json!({"to": 1, "from": shares})).await.0, 200);
//! let (_, told) = call("alice", "GET", "/admin/prompts/translate/history", json!({})).await;
//! assert_eq!(told["moves"].as_array().unwrap().len(), 3);
//! assert_eq!(told["moves"][2]["move"]["by"], "bob");
//! # Ok(())
//! # }
//! ```
//!
//! # Write
//!
//! A prompt says which model is asked, what it is told, and which variables are filled in. Give each
//! variable a schema that is as narrow as it can be: a `maxLength`, an `enum`. What does not fit is
//! refused before a model is asked, and the schema is what callers see. Give a `default` to what is most
//! often the same. Where the answer is for a program, give it an
//! [output schema](super::Prompt::output_schema) too.
//!
//! Keep prompts [in files](super) if they are changed with the code and reviewed like it; in a database
//! if others than developers change them, or if several gateways must have them.
//! [Export and import](super::Import) lead from one to the other.
//!
//! What several prompts say is a [partial](super::Partial). Its text is copied into the versions that
//! include it, so that no version ever changes.
//!
//! # Look
//!
//! A preview shows what the model would be asked: nothing is called and nothing is kept. What stands in
//! a variable is text there, whatever it looks like. A prompt in which variables stand among
//! instructions still invites the model to follow them: put what comes from others into a message of its
//! own, and say in the system message what it is.
//!
//! # Test
//!
//! A [run](super::manage#runs) asks each case once of one version or two. Cases without an expectation
//! are for reading side by side. For test sets that are larger, or judged by a model, render in code,
//! ask, and [score](super::Registry::score).
//!
//! # Compare
//!
//! A diff is of all that a version says: messages, variables, settings, schemas, and the texts of its
//! partials.
//!
//! # Release
//!
//! A label is moved: nothing is deployed, and every gateway over the same store serves the other version
//! within a second. Move `staging` first, and `production` to what
//! `staging` points at. Name [`from`](super::Change::from), and of two people who release at the same
//! time one is told. It is recorded who moved what, when and why.
//!
//! # Use
//!
//! - As an [endpoint](super::endpoints): `POST /prompts/translate` with the variables. Clients can be generated from
//!   `/prompts/openapi.json`, and people can try it at `/prompts/`.
//! - In a [chat](super::layer): `"prompt": {"name": "translate", "variables": {…}}` in any of the protocols, beside further messages.
//! - In code: [`by_label`](super::Registry::by_label), [`render`](super::Version::render).
//!
//! Who may use which is for a policy to say:
//! [`Rule::prompts`](https://docs.rs/tower-gateway/latest/tower_gateway/authorize/struct.Rule.html#method.prompts).
//!
//! # Try on some
//!
//! A label with shares gives 5 % of the callers the new version, and always the same ones; when its
//! share grows they stay. Which version it was stands in the header `x-gateway-prompt`, in the access
//! log and in the trace.
//!
//! # Judge
//!
//! [Results](super::Registry::results) have calls, errors, tokens, price and times of each version, in
//! this process, and the metrics tell the same. How good an answer was only the application knows: a
//! thumb, a sale, an edit. It says so with the name of the call
//! (`x-gateway-prompt-call`, see [`Scores`](super::Scores)), or with the
//! [number of the version](super::manage). Of a prompt with a schema `output_valid` is scored by itself.
//!
//! # Take back
//!
//! Move the label to what it pointed at before: the [history](super::Registry::label_history) says what
//! that was. A version is never deleted, so there is always something to go back to.

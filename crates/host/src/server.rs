//! The control API: HTTP on a unix socket that only its owner may use.

mod snapshots;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use punctual_plan::Facts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{
    AttachRequest, HostFacts, Id, MachineDetails, MachineSummary, MigrateRequest, Migration,
    PlanRequest, Problem, ProblemKind, RecoverRequest, RunRequest, SurveyRequest, TraceRequest,
    UpgradeRequest,
};
use crate::host::Host;
use crate::listener::Listener;
use crate::migrations::Watcher;

type Answer<T> = Result<Json<T>, Problem>;
type Shared = State<Arc<Host>>;

/// The routes of [`crate::api`].
pub(crate) fn router(host: Arc<Host>) -> Router {
    let v1 = Router::new()
        .route("/host", get(facts))
        .route("/machines", get(machines).post(run))
        .route("/machines/attach", post(attach))
        .route("/machines/{name}", get(machine).delete(stop))
        .route("/machines/{name}/recover", post(recover))
        .route("/machines/{name}/traces", post(record).delete(end_recording))
        .route("/machines/{name}/traces/last", get(last_trace))
        .route("/plans", post(plan))
        .route("/surveys", post(survey))
        .route("/upgrades", post(upgrade))
        .route("/migrations", get(migrations).post(migrate))
        .route("/migrations/{id}", get(migration).delete(cancel))
        .route("/migrations/{id}/events", get(events_of))
        .route("/events", get(events))
        .merge(snapshots::routes());
    Router::new().nest(crate::api::VERSION, v1).fallback(no_such_path).with_state(host)
}

async fn facts(State(host): Shared) -> Answer<HostFacts> {
    Ok(Json(blocking(move || host.facts()).await))
}

async fn machines(State(host): Shared) -> Answer<Vec<MachineSummary>> {
    Ok(Json(blocking(move || host.machines()).await))
}

async fn machine(State(host): Shared, Path(name): Path<String>) -> Answer<MachineDetails> {
    blocking(move || host.machine(&name)).await.map(Json)
}

async fn run(State(host): Shared, Request(request): Request<RunRequest>) -> Answer<MachineSummary> {
    blocking(move || host.run(&request)).await.map(Json)
}

async fn attach(
    State(host): Shared,
    Request(request): Request<AttachRequest>,
) -> Answer<MachineSummary> {
    blocking(move || host.attach(&request)).await.map(Json)
}

async fn stop(State(host): Shared, Path(name): Path<String>) -> Answer<MachineSummary> {
    blocking(move || host.stop(&name)).await.map(Json)
}

async fn recover(
    State(host): Shared,
    Path(name): Path<String>,
    Request(request): Request<RecoverRequest>,
) -> Answer<MachineSummary> {
    blocking(move || host.recover_link(&name, request.to.as_deref())).await.map(Json)
}

async fn record(
    State(host): Shared,
    Path(name): Path<String>,
    Request(request): Request<TraceRequest>,
) -> Result<Response, Problem> {
    blocking(move || host.record(&name, request)).await.map(told)
}

/// One line of JSON for each event.
fn told<T: Serialize + Clone + Send + Sync + 'static>(listener: Listener<T>) -> Response {
    let lines = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        let line = serde_json::to_string(&event).expect("an event is JSON") + "\n";
        Some((Ok::<_, Infallible>(line), listener))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

async fn end_recording(State(host): Shared, Path(name): Path<String>) -> Answer<()> {
    blocking(move || host.end_recording(&name)).await.map(Json)
}

async fn last_trace(
    State(host): Shared,
    Path(name): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let trace = blocking(move || host.last_trace(&name)).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], trace))
}

async fn plan(
    State(host): Shared,
    Request(request): Request<PlanRequest>,
) -> Result<Response, Problem> {
    blocking(move || host.plan(request)).await.map(told)
}

async fn survey(State(host): Shared, Request(request): Request<SurveyRequest>) -> Answer<Facts> {
    blocking(move || host.survey(&request)).await.map(Json)
}

async fn migrate(
    State(host): Shared,
    Request(request): Request<MigrateRequest>,
) -> Answer<Migration> {
    blocking(move || host.migrate(request)).await.map(Json)
}

async fn upgrade(
    State(host): Shared,
    Request(request): Request<UpgradeRequest>,
) -> Answer<Migration> {
    blocking(move || host.upgrade(request)).await.map(Json)
}

async fn migrations(State(host): Shared) -> Answer<Vec<Migration>> {
    Ok(Json(host.migrations().all()))
}

async fn migration(State(host): Shared, Path(id): Path<String>) -> Answer<Migration> {
    let id = read_id(&id)?;
    host.migrations().get(id).map(Json).ok_or_else(|| no_such_migration(id))
}

async fn cancel(State(host): Shared, Path(id): Path<String>) -> Answer<Migration> {
    let id = read_id(&id)?;
    host.migrations().cancel(id).map(Json).ok_or_else(|| no_such_migration(id))
}

async fn events(State(host): Shared) -> Response {
    stream_of(host.migrations().watch(), None)
}

async fn events_of(State(host): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = read_id(&id)?;
    host.migrations().get(id).ok_or_else(|| no_such_migration(id))?;
    Ok(stream_of(host.migrations().watch(), Some(id)))
}

async fn no_such_path() -> Problem {
    Problem::unknown(
        "the daemon's API has no such path",
        "use a `punctual` of the daemon's own version",
    )
}

/// One line of JSON for each change; of one migration until it has ended, or of all for ever.
fn stream_of(watcher: Watcher, only: Option<Id>) -> Response {
    let lines = stream::unfold(Some(watcher), move |watcher| async move {
        let mut watcher = watcher?;
        let mut changed = watcher.changed().await;
        changed.retain(|migration| only.is_none_or(|id| migration.id == id));
        let is_last = only.is_some() && changed.iter().any(Migration::has_ended);
        let lines = changed
            .iter()
            .map(|migration| serde_json::to_string(migration).expect("a migration is JSON") + "\n");
        Some((Ok::<_, Infallible>(lines.collect::<String>()), (!is_last).then_some(watcher)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn read_id(text: &str) -> Result<Id, Problem> {
    text.parse().map_err(|error| Problem::usage(error, "`punctual watch` shows the migrations"))
}

fn no_such_migration(id: Id) -> Problem {
    Problem::unknown(
        format!("there is no migration {id} on this host"),
        "ask the host that the machine started from; only the latest are remembered",
    )
}

/// Runs what waits for disks, QEMU or the other host beside the threads that serve requests.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A body of JSON; one that is malformed is answered by a [`Problem`].
struct Request<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Request<T> {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, state: &S) -> Result<Self, Problem> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::usage(
            format!("the request is malformed: {}", rejection.body_text()),
            "use a `punctual` of the daemon's own version",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = match self.kind {
            ProblemKind::Usage => StatusCode::BAD_REQUEST,
            ProblemKind::Unknown => StatusCode::NOT_FOUND,
            ProblemKind::Refused => StatusCode::CONFLICT,
            ProblemKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(self)).into_response()
    }
}

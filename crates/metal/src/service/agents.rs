//! The protocol of the agents, see `scute_agent::protocol`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use scute_agent::protocol::{HELD_SECONDS, Hello, Report, Said, Welcome, Work};
use scute_api::metal3::BareMetalHost;
use tokio::time::{Instant, timeout_at};

use super::desk::Desk;
use super::seal::{host_of, same};
use crate::baremetalhost::boot::Boot;

/// An inventory of the largest server takes some hundred kilobytes.
const LONGEST: usize = 4 << 20;
/// The boot that an agent drew for itself.
const LONGEST_BOOT: usize = 64;
/// Progress by so many percent is worth a run of the controller.
const WORTH_TELLING: u8 = 5;

/// A refusal: its code, and why.
type Refusal = (StatusCode, &'static str);

/// The routes.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/agent/v1/hello", post(hello))
        .route("/agent/v1/work", get(work))
        .route("/agent/v1/report", post(report))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(desk)
}

async fn hello(State(desk): State<Arc<Desk>>, Json(hello): Json<Hello>) -> Response {
    match desk.hello(&hello).await {
        Ok(welcome) => Json(welcome).into_response(),
        Err((code, why)) => {
            tracing::warn!(host = %host_of(&hello.host), code = code.as_u16(), why, "an agent is refused");
            (code, why).into_response()
        }
    }
}

async fn work(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> Response {
    match desk.work(bearer(&headers)).await {
        Ok(work) => Json(work).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn report(State(desk): State<Arc<Desk>>, headers: HeaderMap, Json(report): Json<Report>) -> Response {
    match desk.report(bearer(&headers), report) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
}

/// What it is doing must not be stopped for that.
const JUST_STARTED: Refusal = (StatusCode::SERVICE_UNAVAILABLE, "the manager has just started");
const UNKNOWN: Refusal = (StatusCode::UNAUTHORIZED, "there is no such token");

impl Desk {
    /// Takes a token, once. It is taken when that is written down: a manager that starts anew refuses it, too.
    async fn hello(&self, hello: &Hello) -> Result<Welcome, Refusal> {
        let claimed = {
            let mut seats = self.seats();
            let Some(seat) = seats.get_mut(&hello.host) else { return Err(self.stranger(&hello.host)) };
            let Some(boot) = &mut seat.boot else { return Err(UNKNOWN) };
            let stranger = seat.who.stranger(hello, boot.purpose);
            if !same(&hello.token, &self.seal.token(&hello.host, &boot.nonce)) {
                return Err(UNKNOWN);
            }
            if stranger.is_some() {
                seat.stranger = stranger;
                self.wake(&seat.host);
                return Err((StatusCode::FORBIDDEN, "this is another server"));
            }
            let claimed = claim(boot, &hello.boot)?;
            seat.heard = Instant::now();
            claimed
        };
        if let Err(error) = self.save(&hello.host).await {
            tracing::warn!(host = hello.host, %error, "a token could not be written down as taken");
            if claimed && let Some(seat) = self.seats().get_mut(&hello.host) {
                let boot = seat.boot.as_mut().filter(|boot| boot.taken.as_ref() == Some(&hello.boot));
                boot.into_iter().for_each(|boot| boot.taken = None);
            }
            return Err((StatusCode::SERVICE_UNAVAILABLE, "the token could not be written down as taken"));
        }
        let seats = self.seats();
        let seat = seats.get(&hello.host).ok_or(UNKNOWN)?;
        let nonce = seat.boot.as_ref().map(|boot| boot.nonce.as_str()).ok_or(UNKNOWN)?;
        self.wake(&seat.host);
        let session = self.seal.session(&hello.host, nonce, &hello.boot);
        Ok(Welcome { session, clock: self.hub.now().as_second() })
    }

    /// A host that this process has not looked at yet may still be one of ours.
    fn stranger(&self, uid: &str) -> Refusal {
        let hosts = self.hub.watch::<BareMetalHost>();
        let is_ours = |host: &Arc<BareMetalHost>| host.metadata.uid.as_deref() == Some(uid);
        match hosts.is_ready() && !hosts.list().iter().any(is_ours) {
            true => UNKNOWN,
            false => JUST_STARTED,
        }
    }

    /// What to do next; held back while there is nothing new.
    async fn work(self: &Arc<Self>, session: &str) -> Result<Work, Refusal> {
        let end = Instant::now() + Duration::from_secs(HELD_SECONDS);
        let asking = self.asks(session)?;
        loop {
            let told = {
                let seats = self.seats();
                let seat = self.seat(&seats, session)?;
                let open = seat.given.as_ref().filter(|given| !is_end(given.said.as_ref()));
                if let Some(given) = open {
                    return Ok(given.work.clone());
                }
                Arc::clone(&seat.told).notified_owned()
            };
            if timeout_at(end, told).await.is_err() {
                drop(asking);
                return Ok(Work::Wait);
            }
        }
    }

    fn report(&self, session: &str, report: Report) -> Result<(), Refusal> {
        let mut seats = self.seats();
        self.seat(&seats, session)?;
        let seat = seats.get_mut(host_of(session)).ok_or(UNKNOWN)?;
        seat.heard = Instant::now();
        if seat.undecided {
            return Err(JUST_STARTED);
        }
        let gone = (StatusCode::GONE, "this is not wanted any more");
        let given = seat.given.as_mut().filter(|given| given.id == report.id).ok_or(gone)?;
        // The answer to the first was lost on its way.
        if is_end(given.said.as_ref()) {
            return Ok(());
        }
        let tells = is_worth_telling(given.said.as_ref(), &report.what);
        given.said = Some(report.what);
        if tells {
            self.wake(&seat.host);
        }
        Ok(())
    }

    /// The seat that a session is of.
    fn seat<'a>(
        &self,
        seats: &'a std::collections::HashMap<String, super::desk::Seat>,
        session: &str,
    ) -> Result<&'a super::desk::Seat, Refusal> {
        let unknown = (StatusCode::UNAUTHORIZED, "there is no such session");
        let uid = host_of(session);
        let seat = seats.get(uid).ok_or_else(|| match self.stranger(uid) {
            UNKNOWN => unknown,
            other => other,
        })?;
        let boot = seat.boot.as_ref().ok_or(unknown)?;
        let taken = boot.taken.as_deref().ok_or(unknown)?;
        match same(session, &self.seal.session(uid, &boot.nonce, taken)) {
            true => Ok(seat),
            false => Err(unknown),
        }
    }

    /// Counts a question for as long as it is held back.
    fn asks(self: &Arc<Self>, session: &str) -> Result<Asking, Refusal> {
        self.seat(&self.seats(), session)?;
        let uid = host_of(session).to_owned();
        if let Some(seat) = self.seats().get_mut(&uid) {
            seat.asking += 1;
        }
        Ok(Asking { desk: Arc::clone(self), uid })
    }
}

/// A question that is held back.
struct Asking {
    desk: Arc<Desk>,
    uid: String,
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(seat) = self.desk.seats().get_mut(&self.uid) {
            seat.asking = seat.asking.saturating_sub(1);
            seat.heard = Instant::now();
        }
    }
}

/// Takes the token for this boot: whether it was free. The same boot may ask again, as the answer may have been lost.
fn claim(boot: &mut Boot, by: &str) -> Result<bool, Refusal> {
    match &boot.taken {
        _ if by.is_empty() || by.len() > LONGEST_BOOT => {
            Err((StatusCode::BAD_REQUEST, "boot must be drawn anew at each boot"))
        }
        None => {
            boot.taken = Some(by.to_owned());
            Ok(true)
        }
        Some(taken) if taken == by => Ok(false),
        Some(_) => Err((StatusCode::CONFLICT, "the token has been taken already")),
    }
}

fn is_end(said: Option<&Said>) -> bool {
    said.is_some_and(|said| !matches!(said, Said::Progress { .. }))
}

fn is_worth_telling(before: Option<&Said>, now: &Said) -> bool {
    match (before, now) {
        (Some(Said::Progress { percent: before, .. }), Said::Progress { percent, .. }) => {
            percent.abs_diff(*before) >= WORTH_TELLING
        }
        _ => true,
    }
}

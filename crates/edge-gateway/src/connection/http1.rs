//! HTTP/1.1 on a client's connection (RFC 9112).
//!
//! One future serves a connection on its worker: it reads a head, answers the request in place and goes on to the next
//! one. While the answer is awaited the body of the request is read by whoever polls it, and what comes behind the
//! request is read ahead up to a bound, which is also how a client that left is noticed. Between requests a connection
//! holds its socket and its TLS state and no buffer, because what is read goes through one of the thread.
//!
//! There is one way to read a request ([`head`]); what leaves room for another is refused and ends the connection.

mod answer;
mod head;
mod link;
#[cfg(any(test, feature = "fuzzing"))]
mod pieces;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{Method, Response, StatusCode};

use self::answer::Asked;
pub(crate) use self::head::{Refusal, Refused};
pub(crate) use self::link::Http1Body;
use self::link::Link;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::pieces::read_pieces;
use super::ConnectionState;
use crate::body::{ClientBody, ResponseBody};
use crate::client_io::{ClientIo, Stream};
use crate::handler;
use crate::http1::{Outgoing, output};
use crate::interim::Interim;

/// Serves a connection to its end.
pub(super) async fn serve(state: &Rc<ConnectionState>, io: ClientIo<Stream>) -> io::Result<()> {
    let link = Shared(Rc::new(RefCell::new(Link::new(io))));
    let interim = Interim::queued();
    let mut idle = Idle { drain: pin!(state.drain_begins()), asked: false };
    let refused = loop {
        match idle.next(state, &link.0).await {
            Next::Request(head) => {
                // In a box, which a connection without a request does not hold.
                match Box::pin(exchange(state, &link.0, head, interim.clone())).await? {
                    After::Next => {}
                    After::Close => break false,
                    After::Gone => return Ok(()),
                }
            }
            Next::Refused(refused) => {
                let asked = Asked { bodiless: refused.method == Method::HEAD, is_11: true, trailers: false };
                let response = handler::refuse(state, *refused);
                Box::pin(answer(state, &link.0, asked, false, response)).await?;
                break true;
            }
            Next::End => break false,
        }
    };
    link.0.borrow_mut().end_request(refused);
    poll_fn(|cx| link.0.borrow_mut().poll_close(cx)).await
}

/// The connection's hold on what it shares with the body of a request: whatever ends the connection ends that too.
struct Shared(Rc<RefCell<Link>>);

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.borrow_mut().cut();
    }
}

/// What an idle connection waits for.
enum Next {
    Request(Box<head::Head>),
    Refused(Box<Refused>),
    /// The client has left, or drain wants this to be the end.
    End,
}

struct Idle<'d, D> {
    drain: Pin<&'d mut D>,
    /// Drain wakes this task, whose waker stays the same; asking at each of its wakes would take a lock.
    asked: bool,
}

impl<D: Future<Output = ()>> Idle<'_, D> {
    async fn next(&mut self, state: &ConnectionState, link: &RefCell<Link>) -> Next {
        poll_fn(|cx| {
            let mut link = link.borrow_mut();
            let next = link.poll_head(state.worker.view().limits(), cx);
            if next.is_ready() {
                state.head_came();
                return next;
            }
            if link.has_input() {
                state.head_begins();
                return Poll::Pending;
            }
            self.poll_drain(state, cx)
        })
        .await
    }

    fn poll_drain(&mut self, state: &ConnectionState, cx: &mut Context<'_>) -> Poll<Next> {
        if self.asked && !state.worker.shutdown.is_cancelled() {
            return Poll::Pending;
        }
        self.asked = true;
        self.drain.as_mut().poll(cx).map(|()| Next::End)
    }
}

/// What a connection does behind an answer.
enum After {
    Next,
    Close,
    /// The client has left, or the stream is a tunnel's.
    Gone,
}

/// Answers one request.
async fn exchange(
    state: &Rc<ConnectionState>,
    link: &Rc<RefCell<Link>>,
    head: Box<head::Head>,
    interim: Interim,
) -> io::Result<After> {
    let asked = Asked::of(&head);
    let keeps = head.keeps;
    let interim = if asked.is_11 { interim } else { Interim::none() };
    interim.renew();
    link.borrow_mut().begin(head.extent, head.expects);
    let request = Box::new(head.request.map(|()| ClientBody::Http1(Http1Body::new(Rc::clone(link)))));
    let response = {
        let mut handling = pin!(handler::handle(Rc::clone(state), request, interim.clone()));
        poll_fn(|cx| {
            let response = handling.as_mut().poll(cx).map(Some);
            let mut link = link.borrow_mut();
            while let Some(announced) = interim.take() {
                link.announce(&announced);
            }
            if response.is_ready() {
                return response;
            }
            link.poll_left(cx).map(|()| None)
        })
        .await
    };
    // Dropping the handler cancels the exchange.
    let Some(response) = response else { return Ok(After::Gone) };
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let keeps = answer(state, link, asked, keeps, response).await?;
    let mut link = link.borrow_mut();
    if switches && link.hand_over() {
        return Ok(After::Gone);
    }
    Ok(if keeps && link.is_read() { After::Next } else { After::Close })
}

/// Writes an answer; whether the connection may serve another request.
async fn answer(
    state: &ConnectionState,
    link: &RefCell<Link>,
    asked: Asked,
    keeps: bool,
    response: Response<ResponseBody>,
) -> io::Result<bool> {
    let (head, body) = response.into_parts();
    let form = answer::Form::of(&head, &body, asked, keeps);
    let mut outgoing = Outgoing::default();
    let mut unsent = Some((head, body));
    poll_fn(|cx| {
        if unsent.is_some() {
            std::task::ready!(link.borrow_mut().poll_announced(cx))?;
        }
        if let Some((head, body)) = unsent.take() {
            outgoing.begin(form.framing, body);
            // Not while the link is borrowed: the answer may be fed by the request's body.
            outgoing.fill(cx).map_err(|()| broken())?;
            let date = state.worker.date();
            output(|out| {
                answer::write(&head, &form, date.as_bytes(), out);
                outgoing.write_head(out, link.borrow_mut().io()?, cx)
            })?;
        }
        while !outgoing.is_complete() {
            outgoing.fill(cx).map_err(|()| broken())?;
            let waits = outgoing.waits();
            let mut link = link.borrow_mut();
            std::task::ready!(outgoing.poll_flush(link.io()?, cx))?;
            if waits {
                return link.poll_left(cx).map(|()| Err(io::ErrorKind::ConnectionAborted.into()));
            }
        }
        Poll::Ready(Ok(form.keeps))
    })
    .await
}

/// The answer has no end, so that its client must not take the end of the connection for one.
fn broken() -> io::Error {
    io::Error::other("the answer broke off")
}

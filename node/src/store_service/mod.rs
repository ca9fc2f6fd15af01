//! The store service: what gateways in other processes ask of the store in this one, over the cluster's link.
//!
//! It adds nothing and knows nothing: each call goes to the same [`Store`] that gateways in this process use, so that what
//! is promised here is promised there. What it does itself is to bound what peers can make us keep ([`admission`]). Streams
//! are made of steps that only run while the peer reads, and end with the call: there is no task that could be left over.

mod admission;
mod putting;
mod reading;
#[cfg(test)]
mod tests;
mod watching;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use securanet_gateway::{
    connection::Shutdown,
    model::{Query, directory::DirectoryQuery},
    store::Store,
};
use securanet_wire::{
    COMMANDS_SIZE_BYTES_MAX, WireError, answer_to_wire, execute_from_wire, outcome_to_wire,
    proto::{
        ExecuteReply, ExecuteRequest, PutFrame, PutReply, QueryReply, QueryRequest, ReadFrame, ReadRequest, WatchEvent,
        WatchRequest,
        store_server::{Store as Service, StoreServer},
    },
    query_from_wire,
};
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::cluster::service::Opened;

use self::{admission::Admission, putting::Putting, reading::Reading, watching::Watching};

/// A request with its commands and what is around them.
const REQUEST_SIZE_BYTES_MAX: usize = COMMANDS_SIZE_BYTES_MAX + (1 << 20);

/// What is answered in more than one piece.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service over the store of this process.
pub(crate) struct StoreService {
    store: Opened,
    admission: Admission,
    shutdown: Shutdown,
}

impl StoreService {
    /// What the listener for nodes serves: other nodes are told to wait until the store is open.
    pub(crate) fn routes(store: Opened, shutdown: Shutdown) -> Routes {
        let service = Self { store, admission: Admission::default(), shutdown };
        Routes::new(StoreServer::new(service).max_decoding_message_size(REQUEST_SIZE_BYTES_MAX))
    }

    fn store(&self) -> Result<&Arc<dyn Store>, Status> {
        self.store.get().ok_or_else(|| Status::unavailable("the store is starting"))
    }
}

/// The peer's mistake, in words for its log.
fn invalid(error: WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl Service for StoreService {
    type WatchStream = Answers<WatchEvent>;
    type PutStream = Answers<PutReply>;
    type ReadStream = Answers<ReadFrame>;

    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteReply>, Status> {
        let _admitted = self.admission.request(&request)?;
        let execute = execute_from_wire(request.into_inner()).map_err(invalid)?;
        let outcome = self.store()?.execute(execute).await.map(|executed| (executed.replies, executed.index));
        Ok(Response::new(outcome_to_wire(&outcome)))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryReply>, Status> {
        let _admitted = self.admission.request(&request)?;
        let (group, query, freshness) = query_from_wire(request.get_ref()).map_err(invalid)?;
        if query == Query::Directory(DirectoryQuery::Authority) {
            return Err(Status::permission_denied("the authority's key stays with the stores"));
        }
        let answered = self.store()?.query(group, query, freshness).await;
        Ok(Response::new(answer_to_wire(&answered.map(|answered| (answered.answer, answered.index)))))
    }

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let admitted = self.admission.watch(&request)?;
        let watching = Watching::new(self.store()?.clone(), request.into_inner(), self.shutdown.clone(), admitted);
        Ok(Response::new(Box::pin(watching.events())))
    }

    async fn put(&self, request: Request<Streaming<PutFrame>>) -> Result<Response<Self::PutStream>, Status> {
        let admitted = self.admission.content(&request)?;
        let putting = Putting::new(self.store()?.clone(), request.into_inner(), admitted);
        Ok(Response::new(Box::pin(putting.answers())))
    }

    async fn read(&self, request: Request<Streaming<ReadRequest>>) -> Result<Response<Self::ReadStream>, Status> {
        let admitted = self.admission.content(&request)?;
        let reading = Reading::new(self.store()?.clone(), request.into_inner(), self.shutdown.clone(), admitted);
        Ok(Response::new(Box::pin(reading.answers())))
    }
}

//! Where an operator may send mail instead: a domain, or a route that somebody has.
//!
//! Not a host by its address: one that the node's settings bar would return all that is sent there at once. A route names
//! such a host, and its word holds.

use securanet_gateway::model::{DomainName, outbound::Action};

use crate::ApiError;

const ROUTE_PREFIX: &str = "route:";

/// A destination as the queue writes it: a domain in its canonical form, or `route:NAME` with the name as it stands in the
/// nodes' files. `routes` are those of this node, if it delivers: mail for a route that no node has would wait for good.
pub(crate) fn destination_of(text: &str, routes: Option<&[String]>) -> Result<String, ApiError> {
    let wrong = || {
        ApiError::unprocessable(format!("{text:?} is no destination"))
            .remedy("give a domain, or route:NAME with a name of delivery.routing.routes in the node's file")
    };
    let Some(name) = text.strip_prefix(ROUTE_PREFIX) else {
        return DomainName::parse(text).map(|domain| domain.as_str().to_owned()).map_err(|_| wrong());
    };
    let named = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !named {
        return Err(wrong());
    }
    match routes {
        Some(routes) if !routes.iter().any(|route| route == name) => {
            let known = match routes {
                [] => "it has no route with hosts: add one to delivery.routing.routes".to_owned(),
                routes => format!("it has route:{}", routes.join(", route:")),
            };
            Err(ApiError::unprocessable(format!("this node has no route {name:?} with hosts of its own")).remedy(known))
        }
        _ => Ok(text.to_owned()),
    }
}

/// What is to be said of a route that this node cannot know.
pub(crate) fn warning(action: &Action, knows_routes: bool) -> Option<String> {
    match action {
        Action::Reroute(to) if to.starts_with(ROUTE_PREFIX) && !knows_routes => Some(format!(
            "this node delivers no mail and cannot tell whether {to} exists: where no node has it, the mail waits until it \
             is rerouted again"
        )),
        _ => None,
    }
}

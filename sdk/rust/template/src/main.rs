//! {{name}}: a counter for each name.

use firn_sdk::{Component, Context, Failure, Function, RunError, ValueEntity};

use demo::{GetRequest, IncreaseRequest, Value, counter};

/// Generated from `proto/counter.proto`.
mod demo {
    firn_sdk::include_proto!("demo");
}

type Counter = ValueEntity<Value>;

fn increase(request: IncreaseRequest, counter: &mut Context<Counter>) -> Result<Value, Failure> {
    if request.by < 0 {
        let text = format!("a counter cannot grow by {}", request.by);
        return Err(Failure::invalid_argument(text));
    }
    let mut state = counter.state().cloned().unwrap_or_default();
    state.value += request.by;
    counter.set(state.clone());
    Ok(state)
}

fn get(_: GetRequest, counter: &mut Context<Counter>) -> Result<Value, Failure> {
    Ok(counter.state().cloned().unwrap_or_default())
}

fn component() -> Component {
    Counter::component(counter::SERVICE)
        .id("counter_id")
        .on(counter::INCREASE, increase)
        .on(counter::GET, get)
        .into()
}

#[tokio::main]
async fn main() -> Result<(), RunError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    Function::new("{{name}}", env!("CARGO_PKG_VERSION"))
        .add(component())
        .run()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use firn_sdk::Code;
    use firn_sdk::kit::Unit;

    fn by(by: i64) -> IncreaseRequest {
        let counter_id = "a".to_owned();
        IncreaseRequest { counter_id, by }
    }

    #[tokio::test]
    async fn a_counter_grows() {
        let mut unit = Unit::entity(component(), "a");
        assert_eq!(unit.send(counter::INCREASE, by(2)).await.reply().value, 2);
        assert_eq!(unit.send(counter::INCREASE, by(3)).await.reply().value, 5);
        let value = unit.send(counter::GET, GetRequest::default()).await.reply();
        assert_eq!(value.value, 5);
    }

    #[tokio::test]
    async fn a_counter_does_not_shrink() {
        let mut unit = Unit::entity(component(), "a");
        let failure = unit.send(counter::INCREASE, by(-1)).await.failure();
        assert_eq!(failure.code, Code::InvalidArgument);
    }
}

//! The `redis` crate's asynchronous client: many commands on one connection, pub/sub, RESP3.

use std::time::Duration;

use e2e::{Stage, Way};
use redis::AsyncCommands;
use tokio::time::timeout;

const PATIENCE: Duration = e2e::PATIENCE;

fn run<F: Future<Output = redis::RedisResult<()>>>(test: impl Fn(String) -> F) {
    for way in [Way::Trust, Way::Shared] {
        run_on(way, &test);
    }
}

fn run_on<F: Future<Output = redis::RedisResult<()>>>(way: Way, test: impl FnOnce(String) -> F) {
    let stage = Stage::new(way);
    let url = format!("redis://{}", stage.gate.as_ref().expect("a gate").address());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let ended = runtime.block_on(async { timeout(PATIENCE, test(url)).await });
    ended.expect("no hang").expect("no error");
}

#[test]
fn a_multiplexed_connection() {
    for suffix in ["", "/?protocol=resp3"] {
        run(async |url| {
            let client = redis::Client::open(format!("{url}{suffix}"))?;
            let connection = client.get_multiplexed_async_connection().await?;
            let mut tasks = tokio::task::JoinSet::new();
            for i in 0..200_u32 {
                let mut connection = connection.clone();
                tasks.spawn(async move {
                    let key = format!("key:{i}");
                    let () = connection.set(&key, i).await?;
                    let seen: u32 = connection.get(&key).await?;
                    assert_eq!(seen, i);
                    let (a, b): (u32, String) =
                        redis::pipe().atomic().incr(&key, 1).get(&key).query_async(&mut connection).await?;
                    assert_eq!((a, b), (i + 1, (i + 1).to_string()));
                    Ok::<_, redis::RedisError>(())
                });
            }
            while let Some(task) = tasks.join_next().await {
                task.expect("the task ends")?;
            }
            Ok(())
        });
    }
}

#[test]
fn publish_and_subscribe() {
    run(async |url| {
        use futures_util::StreamExt;
        let client = redis::Client::open(url)?;
        let mut subscriber = client.get_async_pubsub().await?;
        subscriber.subscribe("news").await?;
        subscriber.psubscribe("n*").await?;
        let mut publisher = client.get_multiplexed_async_connection().await?;
        for i in 0..100_u32 {
            let receivers: u32 = publisher.publish("news", i).await?;
            assert_eq!(receivers, 2);
        }
        let mut messages = subscriber.on_message();
        for i in 0..100_u32 {
            for pattern in [false, true] {
                let message = messages.next().await.expect("a message");
                assert_eq!(message.get_payload::<u32>()?, i);
                assert_eq!(message.from_pattern(), pattern);
            }
        }
        drop(messages);
        subscriber.unsubscribe("news").await?;
        subscriber.punsubscribe("n*").await?;
        let receivers: u32 = publisher.publish("news", "nobody").await?;
        assert_eq!(receivers, 0);
        Ok(())
    });
}

/// RESP3: commands and messages use the same connection.
#[test]
fn pushes_beside_replies() {
    run(async |url| {
        let client = redis::Client::open(format!("{url}/?protocol=resp3"))?;
        let (sender, mut receiver) = tokio::sync::mpsc::channel(100);
        let config = redis::AsyncConnectionConfig::new().set_push_sender(move |push: redis::PushInfo| {
            sender.try_send(push).map_err(|_| redis::aio::SendError)
        });
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        connection.subscribe("news").await?;
        assert_eq!(receiver.recv().await.expect("a push").kind, redis::PushKind::Subscribe);
        for i in 0..10_u32 {
            let receivers: u32 = connection.publish("news", i).await?;
            assert_eq!(receivers, 1);
            assert_eq!(receiver.recv().await.expect("a push").kind, redis::PushKind::Message);
        }
        let value: Option<String> = connection.get("nothing").await?;
        assert_eq!(value, None);
        Ok(())
    });
}

//! What the gate promises, checked between real clients and a real `redis-server`.

mod pubsub;

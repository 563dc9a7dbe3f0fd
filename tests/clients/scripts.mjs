// BullMQ, redlock and rate-limiter-flexible, which run scripts in Redis. `node scripts.mjs PORT`.
import assert from 'node:assert/strict';
import {FlowProducer, Queue, QueueEvents, Worker} from 'bullmq';
import {Redis} from 'ioredis';
import {RateLimiterRedis} from 'rate-limiter-flexible';
import Redlock from 'redlock';

const connection = {host: '127.0.0.1', port: Number(process.argv[2])};
const range = (n) => Array.from({length: n}, (_, i) => i);

async function bullmq() {
  const queue = new Queue('jobs', {connection});
  const events = new QueueEvents('jobs', {connection});
  await events.waitUntilReady();
  const worker = new Worker('jobs', async (job) => job.data.number * 2, {connection, concurrency: 4});
  await worker.waitUntilReady();
  const jobs = await Promise.all(range(50).map((number) => queue.add('double', {number})));
  const done = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 20000)));
  assert.deepEqual(done, range(50).map((number) => number * 2));
  const delayed = await queue.add('double', {number: 7}, {delay: 300, attempts: 2});
  assert.equal(await delayed.waitUntilFinished(events, 20000), 14);
  const flow = new FlowProducer({connection});
  const child = {name: 'double', queueName: 'jobs', data: {number: 1}};
  const tree = await flow.add({name: 'double', queueName: 'jobs', data: {number: 2}, children: [child]});
  assert.equal(await tree.job.waitUntilFinished(events, 20000), 4);
  assert.equal((await queue.getJobCounts('completed')).completed, 53);
  await Promise.all([worker.close(), flow.close(), events.close()]);
  await queue.close();
}

async function redlock() {
  const client = new Redis(connection);
  const locks = new Redlock([client], {retryCount: 0});
  const lock = await locks.lock('resource', 5000);
  await assert.rejects(locks.lock('resource', 5000));
  const longer = await lock.extend(5000);
  await longer.unlock();
  await (await locks.lock('resource', 5000)).unlock();
  await client.quit();
}

async function limits() {
  const client = new Redis(connection);
  const limiter = new RateLimiterRedis({storeClient: client, points: 5, duration: 60});
  const taken = await Promise.allSettled(range(8).map(() => limiter.consume('client')));
  assert.equal(taken.filter((one) => one.status === 'fulfilled').length, 5);
  await client.quit();
}

for (const part of [bullmq, redlock, limits]) {
  const started = Date.now();
  await part();
  console.log(`${part.name}: passed, ${(Date.now() - started) / 1000} s`);
}
process.exit(0);

// BullMQ before a cluster, as a client of one server and as one of a cluster. `node queues.mjs HOST PORT`. All keys of
// its queues need one slot, so the prefix is a hash tag. SLOT_MOVE and PLANNED_FAILOVER are commands that change the
// cluster behind the proxy; the keys whose slots move are added to the first.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {FlowProducer, Queue, QueueEvents, Worker} from 'bullmq';
import {Cluster, Redis} from 'ioredis';

const [host, port] = [process.argv[2], Number(process.argv[3])];
const range = (n) => Array.from({length: n}, (_, i) => i);
const JOBS = 50;

// Workers need clients of their own, which wait for jobs.
const kinds = {
  plain: () => new Redis({host, port, maxRetriesPerRequest: null}),
  cluster: () => new Cluster([{host, port}], {redisOptions: {maxRetriesPerRequest: null}}),
};

async function run(line) {
  const [command, ...words] = line.split(' ');
  assert.deepEqual(await once(spawn(command, words, {stdio: 'inherit'}), 'exit'), [0, null]);
}

async function bullmq(kind) {
  const prefix = `{queues:${kind}}`;
  const clients = [];
  const options = () => {
    clients.push(kinds[kind]());
    return {connection: clients.at(-1), prefix};
  };
  const queue = new Queue('jobs', options());
  const events = new QueueEvents('jobs', options());
  await events.waitUntilReady();
  const worker = new Worker('jobs', async (job) => job.data.number * 2, {...options(), concurrency: 4});
  await worker.waitUntilReady();
  const work = async () => {
    const jobs = await Promise.all(range(JOBS).map((number) => queue.add('double', {number})));
    const done = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 60_000)));
    assert.deepEqual(done, range(JOBS).map((number) => number * 2));
  };
  await work();
  const delayed = await queue.add('double', {number: 7}, {delay: 300, attempts: 2});
  assert.equal(await delayed.waitUntilFinished(events, 60_000), 14);
  const flow = new FlowProducer(options());
  const child = {name: 'double', queueName: 'jobs', data: {number: 1}};
  const tree = await flow.add({name: 'double', queueName: 'jobs', data: {number: 2}, children: [child]});
  assert.equal(await tree.job.waitUntilFinished(events, 60_000), 4);
  await run(`${process.env.SLOT_MOVE} ${prefix}`);
  await work();
  assert.equal((await queue.getJobCounts('completed')).completed, 2 * JOBS + 3);
  await Promise.all([worker.close(), flow.close(), events.close()]);
  await queue.close();
  clients.forEach((client) => client.disconnect());
}

// Without a hash tag, the keys of a queue have several slots. The error says so.
async function untagged() {
  const client = kinds.plain();
  const queue = new Queue('jobs', {connection: client, prefix: 'untagged'});
  await assert.rejects(queue.add('double', {number: 1}), /hash to the same slot/);
  client.disconnect();
}

for (const [name, part] of [...Object.keys(kinds).map((kind) => [`BullMQ ${kind}`, () => bullmq(kind)]), ['BullMQ untagged', untagged]]) {
  const started = Date.now();
  await part();
  console.log(`${name}: passed, ${(Date.now() - started) / 1000} s`);
}
process.exit(0);

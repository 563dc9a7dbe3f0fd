// ioredis and node-redis at work: pipelines, transactions, databases, scripts, blocking, pub/sub, RESP3. `node shared.mjs PORT`.
import assert from 'node:assert/strict';
import {Redis} from 'ioredis';
import {createClient, WatchError} from 'redis';

const port = Number(process.argv[2]);
const host = '127.0.0.1';
const range = (n) => Array.from({length: n}, (_, i) => i);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Other clients on the same connections, with their own values, run all the time.
async function crowd(make, over) {
  const members = await Promise.all(range(20).map(make));
  let rounds = 0;
  do {
    await Promise.all(members.map(async (member, i) => {
      const text = `member:${i}:${rounds}`;
      const [stored, echo] = await Promise.all([member.store(text), member.echo(text)]);
      assert.deepEqual([stored, echo], [text, text]);
    }));
    rounds += 1;
  } while (!over());
  await Promise.all(members.map((member) => member.close()));
  return rounds;
}

async function ioredis() {
  let done = false;
  const others = crowd(async (i) => {
    const client = new Redis({host, port, db: i % 4});
    return {
      store: async (text) => {
        const results = await client.multi({pipeline: true}).set(`own:${i}`, text).get(`own:${i}`).exec();
        return results[1][1];
      },
      echo: (text) => client.echo(text),
      close: () => client.quit(),
    };
  }, () => done);

  const client = new Redis({host, port, connectionName: 'ioredis-test', db: 2});
  assert.equal(await client.client('GETNAME'), 'ioredis-test');
  await client.flushdb();
  const pipeline = client.pipeline();
  range(2000).forEach((i) => pipeline.set(`k:${i}`, i).get(`k:${i}`));
  const results = await pipeline.exec();
  range(2000).forEach((i) => assert.deepEqual([results[2 * i], results[2 * i + 1]], [[null, 'OK'], [null, String(i)]]));

  const many = await Promise.all(range(1000).map((i) => client.get(`k:${i}`)));
  range(1000).forEach((i) => assert.equal(many[i], String(i)));

  // Optimistic locking: another client writes in between.
  await client.set('watched', 1);
  await client.watch('watched');
  const writer = new Redis({host, port, db: 2});
  await writer.incr('watched');
  assert.equal(await client.multi().set('watched', 'lost').exec(), null);
  assert.equal(await client.get('watched'), '2');
  assert.deepEqual(await client.multi().incr('watched').get('watched').exec(), [[null, 3], [null, '3']]);

  client.defineCommand('twice', {numberOfKeys: 1, lua: "return {redis.call('GET', KEYS[1]), ARGV[1], ARGV[1]}"});
  assert.deepEqual(await client.twice('watched', 'x'), ['3', 'x', 'x']);
  await assert.rejects(client.eval("return redis.error_reply('MINE text')", 0), /MINE text/);

  await client.select(5);
  assert.equal(await client.get('watched'), null);
  await client.select(2);
  await assert.rejects(client.select(99), /DB index is out of range/);
  assert.equal(await client.get('watched'), '3');

  const waiting = new Redis({host, port, db: 2});
  const popped = waiting.blpop('list', 5);
  await sleep(50);
  await writer.rpush('list', 'element');
  assert.deepEqual(await popped, ['list', 'element']);

  const subscriber = new Redis({host, port});
  const got = [];
  subscriber.on('message', (channel, message) => got.push(`${channel}:${message}`));
  subscriber.on('pmessage', (pattern, channel, message) => got.push(`${pattern}:${channel}:${message}`));
  await subscriber.subscribe('news', 'weather');
  await subscriber.psubscribe('n*');
  for (const i of range(50)) assert.equal(await writer.publish('news', i), 2);
  await sleep(100);
  assert.deepEqual(got, range(50).flatMap((i) => [`news:${i}`, `n*:news:${i}`]));
  await subscriber.unsubscribe('news', 'weather');
  await subscriber.punsubscribe('n*');
  assert.equal(await subscriber.echo('back'), 'back');
  await sleep(1500);
  assert.equal(await subscriber.echo('pooled'), 'pooled');

  const big = 'b'.repeat(3_000_000);
  await client.set('big', big);
  const [one, small, two] = await Promise.all([client.get('big'), client.get('watched'), client.get('big')]);
  assert.ok(one === big && small === '3' && two === big);

  const keys = [];
  for await (const part of client.scanStream({match: 'k:*', count: 100})) keys.push(...part);
  assert.equal(new Set(keys).size, 2000);

  done = true;
  const rounds = await others;
  // With many lines, ioredis confuses MONITOR's lines with its reply.
  const monitor = await client.monitor();
  const seen = new Promise((resolve) => monitor.on('monitor', (_, args) => args[1] === 'monitored' && resolve()));
  await writer.set('monitored', 1);
  await seen;
  monitor.disconnect();
  await Promise.all([client, writer, waiting, subscriber].map((one) => one.quit()));
  return rounds;
}

async function nodeRedis(RESP) {
  const open = async (options = {}) => {
    const client = createClient({socket: {host, port}, RESP, ...options});
    client.on('error', (error) => { throw error; });
    await client.connect();
    return client;
  };
  let done = false;
  const others = crowd(async (i) => {
    const client = await open({database: i % 3});
    return {
      store: async (text) => {
        const [, stored] = await Promise.all([client.set(`own:${i}`, text), client.get(`own:${i}`)]);
        return stored;
      },
      echo: (text) => client.echo(text),
      close: () => client.close(),
    };
  }, () => done);

  const client = await open({name: 'node-test', database: 4});
  assert.equal(await client.clientGetName(), 'node-test');
  await client.flushDb();
  await client.hSet('h', {a: '1', b: '2'});
  assert.deepEqual({...await client.hGetAll('h')}, {a: '1', b: '2'});
  assert.equal(await client.get('nothing'), null);
  assert.deepEqual(await client.multi().set('k', '1').incr('k').get('k').exec(), ['OK', 2, '2']);
  await assert.rejects(client.multi().set('k').exec());

  const writer = await open({database: 4});
  await client.watch('k');
  await writer.incr('k');
  await assert.rejects(client.multi().set('k', 'lost').exec(), WatchError);
  assert.equal(await client.get('k'), '3');

  const script = await client.scriptLoad("return {KEYS[1], ARGV[1]}");
  assert.deepEqual(await client.evalSha(script, {keys: ['a'], arguments: ['b']}), ['a', 'b']);
  await assert.rejects(client.eval("return redis.error_reply('MINE text')"), /MINE text/);

  const waiting = await open({database: 4});
  const popped = waiting.blPop('list', 5);
  await sleep(50);
  await writer.rPush('list', 'element');
  assert.deepEqual({...await popped}, {key: 'list', element: 'element'});

  const subscriber = await open();
  const got = [];
  await subscriber.subscribe('news', (message) => got.push(message));
  for (const i of range(50)) assert.equal(await writer.publish('news', String(i)), 1);
  await sleep(100);
  assert.deepEqual(got, range(50).map(String));
  await subscriber.unsubscribe();
  // A Buffer, if node-redis was subscribed in RESP2.
  assert.equal(String(await subscriber.echo('back')), 'back');

  const replies = await Promise.all(range(2000).map((i) => client.set(`k:${i}`, String(i)).then(() => client.get(`k:${i}`))));
  range(2000).forEach((i) => assert.equal(replies[i], String(i)));
  await client.select(5);
  assert.equal(await client.get('k'), null);

  done = true;
  const rounds = await others;
  await Promise.all([client, writer, waiting, subscriber].map((one) => one.close()));
  return rounds;
}

const deadline = setTimeout(() => { throw new Error('no end within a minute'); }, 60_000);
console.log(`port ${port}: ioredis, beside ${await ioredis()} rounds of others`);
for (const RESP of [2, 3]) console.log(`port ${port}: node-redis, RESP${RESP}, beside ${await nodeRedis(RESP)} rounds of others`);
clearTimeout(deadline);

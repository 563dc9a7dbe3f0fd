// The status page. It shows what the API answers. Data gets into the page as text only, never as markup.

const $ = (id) => document.getElementById(id);
const VIEWS = ["overview", "commands", "clients", "access", "configuration"];
const STATUS_EVERY = 10_000;
const LISTS_EVERY = 5_000;
const PAGE = 50;
const SAMPLES = 20;
const SAMPLES_ON_A_PHONE = 5; // There each row is a card of six lines.
const NODES = 24;
const SLOTS = 16_384; // Of each Redis Cluster.

// What the page knows.
let status = null;
let sample = null;
let groups = [];
let stream = null;
let pages = [0]; // The `after` of each page of clients that was shown; the last one is on the screen.
let lastRefresh = 0;

// Every tracking call of `@dodopayments/ingestion-blueprints`, as an application would make it.
import {
  DodoClient,
  Ingestion,
  createBatch,
  createLLMTracker,
  trackAPICall,
  trackObjectStorage,
  trackStreamBytes,
  trackTimeRange,
} from "@dodopayments/ingestion-blueprints";

const apiKey = process.env.METERING_API_KEY;
const environment = "test_mode";
const run = process.env.METERING_RUN;
const customerId = `customer_${run}`;
const ingestion = (name) => new Ingestion({ apiKey, environment, eventName: `${name}_${run}` });
const seen = {};

await trackStreamBytes(ingestion("stream"), {
  customerId,
  bytes: 10485760,
  metadata: { stream_type: "video", quality: "1080p" },
});
await trackObjectStorage(ingestion("storage"), { customerId, bytes: 2048, metadata: { bucket: "b" } });
await trackTimeRange(ingestion("time"), { customerId, durationMs: 1500, durationSeconds: 1.5 });
await trackAPICall(ingestion("api"), { customerId, metadata: { endpoint: "/v1", status: 200 } });
await ingestion("plain").track({ customerId });

const batch = createBatch(ingestion("batch"), { maxSize: 100, flushInterval: 60000 });
for (let call = 0; call < 25; call += 1) batch.add({ customerId, metadata: { call } });
await batch.flush();
await batch.cleanup();

const response = {
  model: "a-model",
  choices: [],
  usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
};
const tracker = createLLMTracker({ apiKey, environment, eventName: `llm_${run}` });
await tracker.track(response, customerId, { feature: "manual" });
const model = { chat: { completions: { create: async () => response } } };
const wrapped = tracker.wrap({ client: model, customerId, metadata: { feature: "wrapped" } });
seen.wrapped = await wrapped.chat.completions.create({});
seen.trackerHealthy = await tracker.healthCheck();

const client = new DodoClient({ apiKey, environment });
seen.healthy = await client.healthCheck();
const events = Array.from({ length: 1000 }, (_, index) => ({
  event_id: `direct_${run}_${index}`,
  customer_id: customerId,
  event_name: `direct_${run}`,
  timestamp: new Date().toISOString(),
  metadata: { bytes: 1 },
}));
seen.direct = await client.ingestEvents(events);
seen.again = await client.ingestEvent(events[0]);
seen.refused = await new DodoClient({ apiKey: "sg_test_wrong", environment }).ingestEvent(events[0]).then(
  () => null,
  (error) => ({ name: error.constructor.name, message: error.message }),
);
console.log(JSON.stringify(seen));

// The npm blueprint's `trackStreamBytes`: awaited calls, several at a time; prints CPU per call.
const [blueprint, calls, atATime] = [process.argv[2], +process.argv[3], +process.argv[4]];
const { Ingestion, trackStreamBytes } = await import(blueprint);
const ingestion = new Ingestion({
  apiKey: "sg_test_benchmark",
  environment: "test_mode",
  eventName: "stream_consumption",
});
const event = { customerId: "customer_123", bytes: 65536, metadata: { quality: "1080p" } };

async function run(total) {
  let left = total;
  const worker = async () => {
    while (left-- > 0) await trackStreamBytes(ingestion, event);
  };
  await Promise.all(Array.from({ length: atATime }, worker));
}

await run(200); // Lets the compiler and the connections warm up.
const before = process.cpuUsage();
await run(calls);
const spent = process.cpuUsage(before);
console.log((spent.user + spent.system) / calls);

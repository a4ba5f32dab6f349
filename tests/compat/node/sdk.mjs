// Every call of the npm package `dodopayments` that the server claims to answer; prints what came.
import DodoPayments from "dodopayments";

const client = new DodoPayments({
  bearerToken: process.env.METERING_API_KEY,
  baseURL: process.env.METERING_BASE_URL,
  maxRetries: 0,
});
const run = process.env.METERING_RUN;
const eventName = `npm_${run}`;
const seen = {};

const meter = await client.meters.create({
  name: "npm",
  event_name: eventName,
  measurement_unit: "byte",
  aggregation: { type: "sum", key: "bytes" },
});
seen.meter = meter;
seen.meterAgain = await client.meters.retrieve(meter.id);
seen.meterListed = (await client.meters.list({ page_size: 100 })).items.some(
  (item) => item.id === meter.id,
);
// Three levels, and an aggregation besides sum.
const leaf = (key, operator, value) => ({ key, operator, value });
const group = (conjunction, ...clauses) => ({ conjunction, clauses });
seen.nested = group(
  "or",
  group("and", group("or", leaf("bytes", "greater_than", 600)), group("and", leaf("bytes", "less_than", 900))),
  group("and", leaf("quality", "equals", "1080p")),
);
seen.peak = await client.meters.create({
  name: "npm peak",
  event_name: eventName,
  measurement_unit: "byte",
  aggregation: { type: "max", key: "bytes" },
  filter: seen.nested,
});
await client.meters.archive(meter.id);
seen.meterArchived = (await client.meters.list({ archived: true, page_size: 100 })).items.some(
  (item) => item.id === meter.id,
);
await client.meters.unarchive(meter.id);

const customer = await client.customers.create({ email: "npm@example.com", name: "Npm" });
seen.customer = customer;
seen.customerAgain = await client.customers.retrieve(customer.customer_id);
seen.customerChanged = await client.customers.update(customer.customer_id, { name: "Changed" });
seen.customers = (await client.customers.list({ name: "changed", page_size: 100 })).items.length;

const product = await client.products.create({
  name: "npm plan",
  tax_category: "saas",
  price: {
    type: "usage_based_price",
    currency: "USD",
    fixed_price: 0,
    discount: 0,
    purchasing_power_parity: false,
    payment_frequency_count: 1,
    payment_frequency_interval: "Month",
    subscription_period_count: 10,
    subscription_period_interval: "Year",
    meters: [
      { meter_id: meter.id, price_per_unit: "0.01", free_threshold: 1000 },
      { meter_id: seen.peak.id, price_per_unit: "1" },
    ],
  },
});
seen.product = product;
seen.productAgain = await client.products.retrieve(product.product_id);
seen.productListed = (await client.products.list({ page_size: 100 })).items.some(
  (item) => item.product_id === product.product_id,
);
await client.products.update(product.product_id, { name: "npm plan, renamed" });
seen.productRenamed = (await client.products.retrieve(product.product_id)).name;
await client.products.archive(product.product_id);
seen.productArchived = (await client.products.list({ archived: true, page_size: 100 })).items.some(
  (item) => item.product_id === product.product_id,
);
await client.products.unarchive(product.product_id);

const made = await client.subscriptions.create({
  billing: { country: "US" },
  customer: { customer_id: customer.customer_id },
  product_id: product.product_id,
  quantity: 1,
});
seen.subscription = await client.subscriptions.retrieve(made.subscription_id);
seen.subscriptions = (
  await client.subscriptions.list({ customer_id: customer.customer_id })
).items.map((item) => item.subscription_id);

const one = {
  event_id: `npm/${run} 1?`,
  customer_id: customer.customer_id,
  event_name: eventName,
  timestamp: new Date().toISOString(),
  metadata: { bytes: 500, stream: true, quality: "1080p" },
};
seen.ingestedOne = await client.usageEvents.ingest({ events: [one] });
seen.ingestedAgain = await client.usageEvents.ingest({ events: [one] });
const thousand = Array.from({ length: 1000 }, (_, index) => ({
  event_id: `npm_${run}_${index}`,
  customer_id: customer.customer_id,
  event_name: eventName,
  metadata: { bytes: index },
}));
seen.ingestedThousand = await client.usageEvents.ingest({ events: thousand });
seen.event = await client.usageEvents.retrieve(one.event_id);
seen.sent = one;
seen.firstPage = (await client.usageEvents.list({ event_name: eventName })).items.length;

// Of all that it sent, what the filter of a meter takes, from the minute before up to an end.
const from = new Date(Date.now() - 60_000).toISOString();
const filtered = { customer_id: customer.customer_id, meter_id: seen.peak.id, start: from, page_size: 1000 };
seen.filtered = (await client.usageEvents.list(filtered)).items.length;
seen.filteredBefore = (await client.usageEvents.list({ ...filtered, start: undefined, end: from })).items.length;
seen.unfitting = await client.usageEvents.list({ meter_id: meter.id, event_name: "other" }).then(
  () => null,
  (error) => ({ name: error.constructor.name, body: error.error }),
);

// With an explicit 0 the walk is right; without it the package skips page 1 on any server.
seen.walked = 0;
for await (const event of client.usageEvents.list({
  event_name: eventName,
  page_size: 100,
  page_number: 0,
})) {
  if (event.customer_id === customer.customer_id) seen.walked += 1;
}
seen.history = (
  await client.subscriptions.retrieveUsageHistory(made.subscription_id, { meter_id: null })
).items;
seen.peakHistory = (
  await client.subscriptions.retrieveUsageHistory(made.subscription_id, {
    meter_id: seen.peak.id,
  })
).items[0].meters[0];
seen.cancelled = await client.subscriptions.update(made.subscription_id, { status: "cancelled" });
seen.missing = await client.meters.retrieve("mtr_none").catch((error) => ({
  name: error.constructor.name,
  body: error.error,
}));
seen.unsupported = await client.webhooks.list().then(
  () => null,
  (error) => ({ status: error.status, body: error.error }),
);
console.log(JSON.stringify(seen));

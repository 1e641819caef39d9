// Tasks of 2025-11-25 with @modelcontextprotocol/sdk 1.x: one that asks, one that is cancelled, and one that the client does not know of.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { CallToolResultSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

const { url, tool } = JSON.parse(process.argv[2]);
const report = { asked: 0, statuses: [], ids: [], text: '', cancelled: '', plain: '', progress: 0 };
const client = new Client({ name: 'tasks', version: '1' }, { capabilities: { elicitation: { form: {} } } });
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  report.asked++;
  report.ids.push(request.params._meta?.['io.modelcontextprotocol/related-task']?.taskId ?? 'none');
  return { action: 'accept', content: { interpretation: 'snakes' } };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
await client.listTools(); // the SDK reads taskSupport from it
const { tasks } = client.experimental;
const start = (args) => tasks.callToolStream({ name: tool, arguments: args }, CallToolResultSchema, { task: { ttl: 60000 } });

for await (const message of start({ topic: 'python', ambiguous: true })) {
  if (message.task) {
    report.statuses.push(message.task.status);
    report.ids.push(message.task.taskId);
  }
  report.text += message.result?.content[0].text ?? message.error ?? '';
}
for await (const message of start({ topic: 'gone' })) {
  if (message.type === 'taskCreated') {
    report.cancelled = (await tasks.cancelTask(message.task.taskId)).status;
  }
}
const plain = await client.request(
  { method: 'tools/call', params: { name: tool, arguments: { topic: 'rain' } } }, CallToolResultSchema,
  { onprogress: () => report.progress++, timeout: 30000 },
);
report.plain = plain.content[0].text;
await client.close();
report.ids = [...new Set(report.ids)].length;
console.log(JSON.stringify(report));

// What both generations of the TypeScript client do in a test: connect, take
// the steps of the job in order, print what each of them saw as one JSON line.
// A job is {url | command+args, era, steps: [{op, ...params}]}.

const pages = async (ask, key) => {
  const all = [];
  let cursor;
  do {
    const page = await ask(cursor === undefined ? undefined : { cursor });
    all.push(...page[key]);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return all;
};

const plain = (error) => ({
  name: error.constructor.name,
  code: error.code,
  status: error.status ?? error.data?.status,
  message: error.message,
});

// What a client that takes the steps able or ask declares and answers.
export const asks = (job) => job.steps.some((step) => step.op === 'able' || step.op === 'ask');
export const capabilities = (job) => (asks(job) ? { elicitation: { form: {}, url: {} }, sampling: { tools: {}, context: {} }, roots: {} } : {});
export const agree = {
  elicit: (params) => ({ action: 'accept', content: { answer: params.message.toUpperCase(), name: params.message.toUpperCase() } }),
  sample: (params) => {
    const reply = { role: 'assistant', model: 'm' };
    return !params.tools || JSON.stringify(params.messages).includes('"tool_result"')
      ? { ...reply, stopReason: 'endTurn', content: { type: 'text', text: 'it rains' } }
      : { ...reply, stopReason: 'toolUse', content: [{ type: 'tool_use', id: 'u1', name: 'weather', input: { city: 'Ulm' } }] };
  },
  roots: () => ({ roots: [{ uri: 'file:///work', name: 'work' }] }),
};

export async function run(job, { connect, call, about }) {
  const errors = [];
  const seen = [];
  const client = await connect(job, (error) => errors.push(error.message));
  const take = {
    tools: () => pages((p) => client.listTools(p), 'tools'),
    prompts: () => pages((p) => client.listPrompts(p), 'prompts'),
    resources: () => pages((p) => client.listResources(p), 'resources'),
    templates: () => pages((p) => client.listResourceTemplates(p), 'resourceTemplates'),
    able: () => ({}),
    ask: (step) => call(client, step.params, {}),
    call: (step, progress) => call(client, step.params, step.progress ? { onprogress: (p) => progress.push(p) } : {}),
    prompt: (step) => client.getPrompt(step.params),
    read: (step) => client.readResource(step.params),
    complete: (step) => client.complete(step.params),
  };
  for (const step of job.steps) {
    const progress = [];
    try {
      const result = await take[step.op](step, progress);
      seen.push({ op: step.op, result, progress });
    } catch (error) {
      seen.push({ op: step.op, error: plain(error), progress });
    }
  }
  const server = about(client);
  await client.close();
  process.stdout.write(JSON.stringify({ server, steps: seen, errors }) + '\n');
}

export const job = () => JSON.parse(process.argv[2]);
export const info = { name: 'toolcrib-real-test', version: '1.0.0' };

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

export async function run(job, { connect, call, about }) {
  const errors = [];
  const seen = [];
  const client = await connect(job, (error) => errors.push(error.message));
  const take = {
    tools: () => pages((p) => client.listTools(p), 'tools'),
    prompts: () => pages((p) => client.listPrompts(p), 'prompts'),
    resources: () => pages((p) => client.listResources(p), 'resources'),
    templates: () => pages((p) => client.listResourceTemplates(p), 'resourceTemplates'),
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

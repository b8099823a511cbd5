// For programs outside this folder, which has the packages.
export {default as OpenAI} from 'openai';

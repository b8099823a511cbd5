// SillyTavern's page as a person sees and uses it: clicks, typed text, what stands in the chat, the toasts that pop up.
import assert from 'node:assert/strict';
import {mkdirSync} from 'node:fs';
import {dirname} from 'node:path';

const shown = {visible: true, timeout: 15000};

/** In the page: writes down every toast and every state of the answer, for they pass. */
function watch() {
  window.toasts = [];
  window.texts = [];
  new MutationObserver((changes) => {
    for (const toast of changes.flatMap((c) => [...c.addedNodes]).filter((n) => n.classList?.contains('toast'))) {
      const text = (name) => toast.querySelector(`.toast-${name}`)?.innerText ?? '';
      window.toasts.push({error: toast.classList.contains('toast-error'), title: text('title'), message: text('message')});
    }
    const answer = document.querySelector('#chat .last_mes[is_user="false"] .mes_text')?.innerText;
    if (answer !== undefined && answer !== window.texts.at(-1)) window.texts.push(answer);
    window.began ||= Boolean(document.body?.dataset.generating);
  }).observe(document, {childList: true, subtree: true, characterData: true, attributeFilter: ['data-generating']});
}

/** In the page: is it what a click on its middle hits? What is out of sight gets scrolled to. */
function onTop(element) {
  const {left, top, width, height} = element.getBoundingClientRect();
  const hit = document.elementFromPoint(left + width / 2, top + height / 2);
  return !hit || element.contains(hit);
}

export class TavernPage {
  static async open(browser, origin) {
    const self = new TavernPage();
    self.page = await browser.newPage();
    self.page.setDefaultTimeout(30000);
    await self.page.evaluateOnNewDocument(watch);
    await self.page.goto(origin);
    return self;
  }

  /** As a person does: once it stands still, and nothing lies over it (a drawer that still opens cuts off what is in it). */
  click(selector) {
    return this.page.locator(selector).setTimeout(shown.timeout).filter(onTop).click();
  }

  /** Replaces what stands in a field. */
  async type(selector, text) {
    const field = await this.page.waitForSelector(selector, shown);
    await field.focus();
    await this.page.keyboard.down('Control');
    await this.page.keyboard.press('a');
    await this.page.keyboard.up('Control');
    await field.press('Backspace');
    await field.type(text);
  }

  async choose(selector, value) {
    await this.page.waitForSelector(selector, shown);
    assert.deepEqual(await this.page.select(selector, value), [value]);
  }

  /** The first visit: it asks for a name. */
  async introduce(name) {
    await this.page.waitForSelector('dialog[open] .onboarding', {visible: true, timeout: 60000});
    await this.type('dialog[open] .popup-input', name);
    await this.click('dialog[open] .popup-button-ok');
    await this.page.waitForSelector('.welcomePanel', shown);
  }

  /** Opens a drawer of the top bar by its icon, does something there and closes it. */
  async drawer(icon, inside, deed) {
    await this.click(`${icon} .drawer-toggle`);
    await this.page.waitForSelector(inside, shown);
    const result = await deed();
    await this.click(`${icon} .drawer-toggle`);
    await this.page.waitForSelector(inside, {hidden: true});
    return result;
  }

  connection(deed) {
    return this.drawer('#sys-settings-button', '#main_api', deed);
  }

  settings(deed) {
    return this.drawer('#ai-config-button', '#openai_max_tokens', deed);
  }

  /** API Connections: everything that a person enters, then "Connect". What it says about it. */
  connect(url, key) {
    return this.connection(async () => {
      await this.choose('#main_api', 'openai');
      await this.choose('#chat_completion_source', 'custom');
      await this.type('#custom_api_url_text', url);
      await this.type('#api_key_custom', key);
      const [answer] = await Promise.all([
        this.page.waitForResponse((r) => r.url().endsWith('/api/backends/chat-completions/status')), this.click('#api_button_openai')]);
      await answer.buffer();
      await this.page.waitForSelector('#api_button_openai', shown); // hidden while it connects
      return this.page.$eval('#openai_api .online_status_text', (e) => e.innerText);
    });
  }

  models() {
    return this.page.$$eval('#model_custom_select option', (options) => options.map((o) => o.value).filter(Boolean));
  }

  model(id) {
    return this.connection(() => this.choose('#model_custom_select', id));
  }

  typeModel(id) {
    return this.connection(() => this.type('#custom_model_id', id));
  }

  async meet(character) {
    await this.drawer('#rightNavHolder', `.character_select ::-p-text(${character})`, async () => {
      await this.click(`.character_select ::-p-text(${character})`);
      await this.page.waitForFunction((name) => document.querySelector('#chat .mes .name_text')?.innerText === name, {}, character);
    });
  }

  /** Where a person would look when it is stuck. */
  state() {
    return this.page.evaluate(() => {
      const texts = (selector) => [...document.querySelectorAll(selector)].map((e) => e.innerText?.slice(0, 200));
      return {drawers: [...document.querySelectorAll('.openDrawer')].map((e) => e.id), dialogs: texts('dialog[open]'), toasts: window.toasts,
        chat: texts('#chat .mes .name_text'), characters: texts('.character_select .ch_name')};
    });
  }

  shoot(path) {
    mkdirSync(dirname(path), {recursive: true});
    return this.page.screenshot({path});
  }

  /** Sends, and does not wait for the answer. */
  async send(text) {
    await this.page.evaluate(() => {
      window.toasts = [];
      window.texts = [];
      window.began = false;
    });
    await this.type('#send_textarea', text);
    await this.click('#send_but');
    await this.page.waitForFunction(() => window.began);
  }

  async settled() {
    await this.page.waitForFunction(() => !document.body.dataset.generating);
  }

  /** Sends, and waits until it is over: the last answer, its states on the way, and the toasts. */
  async say(text) {
    await this.send(text);
    await this.settled();
    return this.look();
  }

  /** Waits for the counter beside the last answer. */
  swipes(counter) {
    return this.page.waitForFunction((wanted) => document.querySelector('#chat .last_mes .swipes-counter').innerText.replaceAll('\u200b', '') === wanted, {}, counter);
  }

  look() {
    return this.page.evaluate(() => {
      const last = document.querySelector('#chat .last_mes');
      return {
        user: last.getAttribute('is_user') === 'true', name: last.querySelector('.name_text').innerText,
        text: last.querySelector('.mes_text').innerText, reasoning: last.querySelector('.mes_reasoning')?.textContent.trim() ?? '',
        texts: window.texts, toasts: window.toasts,
      };
    });
  }
}

<?php
// SPDX-License-Identifier: MIT

/**
 * A small model of FreePBX's framework: what a module calls, and what calls a module.
 *
 * Names and parameters are those of FreePBX 17 (tests/freepbx/signatures.txt). The store
 * of settings is an array that run.php reads from its input and writes to its output.
 */

namespace {
	const FREEPBX_IS_AUTH = true;

	/** Everything that happens outside of the module. */
	class World
	{
		public static array $given = [];
		public static array $store = [];
		public static array $notifications = [];
		public static bool $needsReload = false;
	}

	function needreload()
	{
		World::$needsReload = true;
	}

	function engine_getinfo($force_read = false)
	{
		return ['engine' => 'asterisk', 'version' => World::$given['asterisk']];
	}

	function load_view($view_filename_protected, $vars = [])
	{
		extract($vars, EXTR_SKIP);
		ob_start();
		include $view_filename_protected;
		return ob_get_clean();
	}

	// -- the dialplan under construction

	class extension
	{
		public $data;

		public function __construct($data = '')
		{
			$this->data = $data;
		}

		public function output()
		{
			return $this->data;
		}
	}

	class ext_setvar
	{
		public $var;
		public $value;

		public function __construct($var, $value = '')
		{
			$this->var = $var;
			$this->value = $value;
		}

		public function output()
		{
			return "Set($this->var=$this->value)";
		}
	}

	class ext_set extends ext_setvar
	{
	}

	class ext_execif
	{
		private string $text;

		public function __construct($expr, $app_true, $data_true = '', $app_false = '', $data_false = '')
		{
			$else = $app_false === '' ? '' : ":$app_false($data_false)";
			$this->text = "ExecIf($expr?$app_true($data_true)$else)";
		}

		public function output()
		{
			return $this->text;
		}
	}

	class ext_goto extends extension
	{
		public function __construct($pri, $ext = false, $context = false)
		{
			$place = array_filter([$context, $ext, $pri], fn ($part) => !in_array($part, [false, null, ''], true));
			parent::__construct('Goto(' . implode(',', $place) . ')');
		}
	}

	class ext_gotoif extends extension
	{
		public function __construct($condition, $true_priority, $false_priority = false)
		{
			$else = $false_priority ? ":$false_priority" : '';
			parent::__construct("GotoIf($condition?$true_priority$else)");
		}
	}

	class ext_gosub extends extension
	{
		public function __construct($pri, $ext = false, $context = false, $args = '')
		{
			$place = array_filter([$context, $ext, $pri], fn ($part) => (bool) $part);
			parent::__construct('Gosub(' . implode(',', $place) . "($args))");
		}
	}

	/** FreePBX 17 has no macros any more: their contexts are called by Gosub(). */
	class ext_macro extends extension
	{
		public function __construct($macro, $args = '')
		{
			parent::__construct("Gosub(macro-$macro,s,1($args))");
		}
	}

	class ext_queue extends extension
	{
		public function __construct($queuename, $options, $optionalurl, $announceoverride, $timeout, $agi = '', $macro = '', $gosub = '', $rule = '', $position = '')
		{
			parent::__construct('Queue(' . implode(',', func_get_args()) . ')');
		}
	}

	class ext_queuelog extends extension
	{
		public function __construct($queue, $uniqueid, $agent, $event, $additionalinfo = '')
		{
			parent::__construct("QueueLog($queue,$uniqueid,$agent,$event,$additionalinfo)");
		}
	}

	class ext_answer extends extension
	{
		public function output()
		{
			return 'Answer';
		}
	}

	class ext_playback extends extension
	{
		public function output()
		{
			return "Playback($this->data)";
		}
	}

	class ext_return extends extension
	{
		public function output()
		{
			return "Return($this->data)";
		}
	}

	class ext_hangup extends extension
	{
		public function output()
		{
			return "Hangup($this->data)";
		}
	}

	#[\AllowDynamicProperties]
	class extensions
	{
		/** section => ' extension ' => list of basetag, tag, addpri, cmd */
		public $_exts = [];
		private array $_globals = [];
		private array $_includes = [];
		private array $_hints = [];
		private array $withoutCustom = [];

		public function add($section, $extension, $tag, $command, $basetag = false, $addpriority = false)
		{
			$steps = &$this->_exts[$section][" $extension "];
			$steps[] = self::step($steps ? 'n' : '1', $tag, $command);
		}

		private static function step(string $basetag, $tag, $command): array
		{
			return ['basetag' => $basetag, 'tag' => $tag, 'addpri' => '', 'cmd' => $command];
		}

		/** Adds a step before a label; without such a label, at the end. */
		public function splice($section, $extension, $priority, $command, $new_tag = '', $offset = 0, $fixmultiplelabels = false)
		{
			$steps = $this->_exts[$section][" $extension "] ?? [];
			if (!$steps) {
				throw new \Exception("nothing to splice into: $section $extension");
			}
			$at = $this->indexOf($steps, $priority) ?? count($steps);
			array_splice($steps, $at, 0, [self::step('n', $new_tag, $command)]);
			foreach ($steps as $index => &$step) {
				$step['basetag'] = $index === 0 ? '1' : 'n';
			}
			$this->_exts[$section][" $extension "] = $steps;
		}

		/** Replaces the command at a label, which stays. */
		public function replace($section, $extension, $priority, $command)
		{
			$steps = &$this->_exts[$section][" $extension "];
			$steps[$this->indexOf($steps, $priority)]['cmd'] = $command;
		}

		private function indexOf(array $steps, $priority): ?int
		{
			foreach ($steps as $index => $step) {
				if ($step['tag'] === $priority) {
					return $index;
				}
			}
			return null;
		}

		public function section_exists($section)
		{
			return isset($this->_exts[$section]);
		}

		public function addGlobal($globvar, $globval)
		{
			$this->_globals[$globvar] = $globval;
		}

		public function addHint($section, $extension, $hintvalue)
		{
			$this->_hints[$section][$extension] = $hintvalue;
		}

		public function addInclude($section, $incsection, $comment = '')
		{
			$this->_includes[$section][] = $incsection;
		}

		public function addSectionNoCustom($section, $setting)
		{
			$this->withoutCustom[$section] = (bool) $setting;
		}

		public function generateConf()
		{
			$text = "[globals]\n";
			foreach ($this->_globals as $name => $value) {
				$text .= "$name = $value\n";
			}
			foreach ($this->_exts as $section => $extensions) {
				$text .= "\n[$section]\n";
				if (!($this->withoutCustom[$section] ?? false)) {
					$text .= "include => $section-custom\n";
				}
				foreach ($this->_includes[$section] ?? [] as $include) {
					$text .= "include => $include\n";
				}
				foreach ($extensions as $extension => $steps) {
					foreach ($steps as $step) {
						$label = $step['tag'] ? "({$step['tag']})" : '';
						$text .= 'exten => ' . trim($extension) . ",{$step['basetag']}$label,{$step['cmd']->output()}\n";
					}
				}
				foreach ($this->_hints[$section] ?? [] as $extension => $hint) {
					$text .= "exten => $extension,hint,$hint\n";
				}
			}
			return $text;
		}
	}
}

namespace FreePBX {
	/** The key-value store of a module. */
	#[\AllowDynamicProperties]
	class DB_Helper
	{
		public function getConfig($var = null, $id = 'noid')
		{
			return \World::$store[$id][$var] ?? false;
		}

		public function setConfig($key = null, $val = false, $id = 'noid')
		{
			unset(\World::$store[$id][$key]);
			if ($val !== false) {
				// What JSON cannot hold is not stored.
				\World::$store[$id][$key] = json_decode(json_encode($val), true);
			}
			return true;
		}

		public function getAll($id = 'noid')
		{
			return \World::$store[$id] ?? [];
		}

		public function delById($id = null)
		{
			unset(\World::$store[$id]);
		}

		public function deleteAll()
		{
			\World::$store = [];
		}
	}

	class FreePBX_Helpers extends DB_Helper
	{
	}

	interface BMO
	{
		public function install();

		public function uninstall();
	}

	class Config
	{
		public function get($keyword, $passthru = false)
		{
			return \World::$given['config'][$keyword];
		}
	}

	class Notifications
	{
		public function add_error($module, $id, $display_text, $extended_text = '', $link = '', $reset = false, $candelete = false)
		{
			\World::$notifications["$module $id"] = "$display_text: $extended_text";
		}

		public function delete($module, $id)
		{
			unset(\World::$notifications["$module $id"]);
		}
	}

	/** Calls the hooks of module.xml of the class and method that ask for it. */
	class Hooks
	{
		private $FreePBX;

		public function __construct($freepbx = null)
		{
			$this->FreePBX = $freepbx;
		}

		public function processHooks()
		{
			$caller = debug_backtrace()[1];
			$answers = [];
			foreach (\World::$given['hooks'] as $hook) {
				if ($hook['calling_class'] === $caller['class'] && $hook['calling_method'] === $caller['function']) {
					$module = $hook['class'];
					$answers[$module] = $this->FreePBX->$module->{$hook['method']}(...func_get_args());
				}
			}
			return $answers;
		}
	}
}

namespace {
	class_alias('FreePBX\FreePBX_Helpers', 'FreePBX_Helpers');
	class_alias('FreePBX\BMO', 'BMO');

	/** FreePBX itself: its parts and modules by name. */
	#[\AllowDynamicProperties]
	class FreePBX
	{
		private static ?FreePBX $it = null;

		public static function create()
		{
			if (self::$it === null) {
				self::$it = new FreePBX();
				self::$it->Config = new FreePBX\Config();
				self::$it->Notifications = new FreePBX\Notifications();
				self::$it->Hooks = new FreePBX\Hooks(self::$it);
				self::$it->Queues = new FreePBX\modules\Queues(self::$it);
				self::$it->Callbackqueue = new FreePBX\modules\Callbackqueue(self::$it);
			}
			return self::$it;
		}
	}
}
